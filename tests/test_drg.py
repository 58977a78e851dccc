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
    told = command("src.drg", str(tmp_path / "d.csv"), fresh=True)
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


def test_columns_of_the_names_that_are_added_stay_beside_them(tmp_path: Path, command: Command) -> None:
    (tmp_path / "d.csv").write_text("DRG_CODE;description;mdc;type\n291;HEART FAILURE & SHOCK W MCC;5;HCFA\n")
    (row,) = csv.DictReader(io.StringIO(command("src.drg", str(tmp_path / "d.csv")).stdout))
    assert (row["mdc"], row["type"], row["v34_mdc"], row["v34_type"], row["v34"]) == ("5", "HCFA", "05", "M", "291")


def test_a_list_of_another_encoding_is_read_when_it_is_said(tmp_path: Path, command: Command) -> None:
    (tmp_path / "d.csv").write_bytes(
        "drg_code,description,ward\n291,HEART FAILURE & SHOCK W MCC,S\u00fcd\n".encode("cp1252")
    )
    refused = command("src.drg", str(tmp_path / "d.csv"), ok=False).stderr
    assert "row 1 holds bytes that are no UTF-8; of another encoding than UTF-8 say so, encoding=cp1252" in refused
    (row,) = csv.DictReader(io.StringIO(command("src.drg", str(tmp_path / "d.csv"), "encoding=cp1252").stdout))
    assert (row["ward"], row["v34"]) == ("S\u00fcd", "291")
