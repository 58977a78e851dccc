import csv
import io
import subprocess
from collections.abc import Callable
from pathlib import Path

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_audit_keeps_every_row_and_column_and_adds_how_each_was_decided(tmp_path: Path, command: Command) -> None:
    rows = [
        "1,APR ,194,HEART FAILURE",
        "2,HCFA,291,HEART FAILURE & SHOCK W MCC",
        '3,HCFA,640,"MISC DISORDERS OF NUTRITION,METABOLISM,FLUIDS/ELECTROLYTES W MCC"',
        "4,HCFA,999,SOMETHING ELSE",
    ]
    (tmp_path / "d.csv").write_text("hadm_id,drg_type,drg_code,description\n" + "\n".join(rows) + "\n")
    told = command("src.drg", str(tmp_path / "d.csv"))
    found = list(csv.DictReader(io.StringIO(told.stdout)))
    assert [row["hadm_id"] for row in found] == ["1", "2", "3", "4"]
    assert [row["v34"] for row in found] == ["", "291", "640", ""]
    assert found[1]["severity"] == "WITH_MCC"
    assert found[0]["how"] == "not an MS-DRG: drg_type APR"
    assert found[3]["how"] == "no title of v34 to v43 fits"


def test_a_list_without_descriptions_is_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "d.csv").write_text("drg_code\n291\n")
    told = command("src.drg", str(tmp_path / "d.csv"), ok=False)
    assert told.returncode == 2
    assert "no column description; its columns are drg_code" in told.stderr


def test_another_version_is_a_column_of_its_own_name(tmp_path: Path, command: Command) -> None:
    (tmp_path / "d.csv").write_text("drg_code,description\n775,VAGINAL DELIVERY W/O COMPLICATING DIAGNOSES\n")
    (row,) = csv.DictReader(io.StringIO(command("src.drg", str(tmp_path / "d.csv"), "version=v41").stdout))
    assert row["v41"] == ""
    assert "may be 805 or 806 or 807 in v41" in row["how"]


def test_a_version_that_nobody_has_and_an_audited_file_are_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "d.csv").write_text("drg_code,description,v34\n775,CHEST PAIN,\n")
    told = command("src.drg", str(tmp_path / "d.csv"), "version=v35", ok=False)
    assert "version=v35: no such MS-DRG version" in told.stderr
    assert "has a column v34 already" in command("src.drg", str(tmp_path / "d.csv"), ok=False).stderr
