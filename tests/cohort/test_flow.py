import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.cli.errors import UserError
from tests.cohort.conftest import Prepare

HEAD = "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text\n"


def excluded(record: dict[str, Any]) -> dict[str, int]:
    return {step["step"]: step["excluded"] for step in record["flow"]}


def words_of(tmp_path: Path, rows: list[dict[str, Any]], *more: str) -> list[str]:
    pl.DataFrame(rows).write_csv(tmp_path / "n.csv")
    return ["data=csv", f"data.path={tmp_path / 'n.csv'}", "data.text=t", "data.label=y", *more]


def test_one_note_stays_of_a_text_whoever_its_patients_are(tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"t": f"cough, case {n % 60}", "y": "ab"[n % 2], "p": n % 35} for n in range(120)]
    for more in ([], ["data.patient=p"]):
        record, notes = prepare(*words_of(tmp_path, rows, *more))
        assert excluded(record)["without exact duplicates"] == 60
        assert notes["text"].is_unique().all()


def test_copies_with_several_labels_keep_that_of_most_and_it_is_said(tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"t": f"cough, case {n % 40}", "y": "b" if n < 40 else "a"} for n in range(120)]
    record, notes = prepare(*words_of(tmp_path, [*rows, *({"t": f"pain {n}", "y": "b"} for n in range(40))]))
    assert excluded(record)["with the label of most copies of its text"] == 40
    assert excluded(record)["without exact duplicates"] == 40
    assert set(notes.filter(pl.col("text").str.starts_with("cough"))["drg"]) == {"a"}
    assert any(remark.startswith("40 of 80 texts stand under several labels") for remark in record["remarks"])


@pytest.mark.parametrize("split", ["data.split=s", "split=file"])
def test_a_given_test_set_keeps_its_copy_of_a_text(split: str, tmp_path: Path, prepare: Prepare) -> None:
    parts = ["train", "validation", "test"]
    rows = [{"t": f"cough, case {n}", "y": "ab"[n % 2], "s": parts[n % 3]} for n in range(90)]
    rows += [{"t": f"cough, case {n}", "y": "ab"[n % 2], "s": "train"} for n in range(30)]
    words = words_of(tmp_path, rows)
    if split == "split=file":
        prepare(*words_of(tmp_path, [{**row, "t": f"{row['t']} {n}"} for n, row in enumerate(rows)]), "data.split=s")
        split_file = tmp_path / "cohort-1" / "split.csv"
        words = words_of(tmp_path, rows, "split=file", f"split_file={split_file}")
    else:
        words.append(split)
    record, notes = prepare(*words)
    assert notes["text"].is_unique().all()
    assert dict(notes.group_by("split").len().iter_rows()) == dict.fromkeys(parts, 30)
    assert excluded(record)["without exact duplicates"] == 30


@pytest.mark.parametrize("number", [40, 6])
def test_a_split_column_without_validation_gives_some_of_training_to_it(
    number: int, tmp_path: Path, prepare: Prepare
) -> None:
    rows = [{"t": f"note {n}", "y": "ab"[n % 2], "s": ["Train", "test"][n // 2 % 2]} for n in range(number)]
    record, notes = prepare(*words_of(tmp_path, rows, "data.split=s"))
    counts = dict(notes.group_by("split").len().iter_rows())
    moved = counts["validation"]
    assert moved >= 1
    assert f"data.split=s has no validation: {moved} of its {counts['train'] + moved} training notes go there " in str(
        record["remarks"]
    )
    assert "splits in s: Train are read as train, validation, test" in record["remarks"]


def test_a_split_of_no_notes_is_refused_with_what_to_do(tmp_path: Path, prepare: Prepare) -> None:
    rows = [{"t": f"note {n}", "y": "ab"[n % 2], "s": "train", "o": "fold 1"} for n in range(20)]
    with pytest.raises(
        UserError, match=r"n\.csv: no note is left for test \(of 20: .*give the column notes of each split"
    ):
        prepare(*words_of(tmp_path, rows, "data.split=s"))
    with pytest.raises(UserError, match=r"data\.split=o: names no split, its values are fold 1; it must hold train"):
        prepare(*words_of(tmp_path, rows, "data.split=o"))
    with pytest.raises(UserError, match=r"no note is left for \w+ \(of 2: .*; prepare more notes"):
        prepare(*words_of(tmp_path, rows[:2]))
    (tmp_path / "split.csv").write_text("id,split\n")
    with pytest.raises(UserError, match=r"split\.csv: names no id; take the split\.csv that prepare wrote"):
        prepare(*words_of(tmp_path, rows, "split=file", f"split_file={tmp_path / 'split.csv'}"))
    assert {path.name for path in tmp_path.iterdir()} == {"n.csv", "split.csv"}


def note_row(who: int, name: str, text: str) -> str:
    course = f"Name: ___\n\nBrief Hospital Course:\n{text} of case {who} {'got better and went home ' * 10}\n"
    return f'{who}-{name},{who},{who + 500},DS,1,,,"{course}\nDischarge Disposition:\nHome\n"\n'


def test_a_summary_is_kept_over_its_addenda_and_the_first_by_number(tmp_path: Path, prepare: Prepare) -> None:
    names = {"DS-9": "KEPT", "DS-10": "LATER", "AD-2": "ADDENDUM"}
    notes = "".join(note_row(who, name, text) for who in range(1, 81) for name, text in reversed(names.items()))
    only = "".join(note_row(who, "AD-1", "ALONE") for who in range(81, 91))
    empty = f'{91}-DS-1,91,591,DS,1,,,"Name: ___\n"\n' + note_row(91, "AD-2", "ADDENDUM")
    drgs = "".join(f"{who},{who + 500},HCFA,313,CHEST PAIN\n" for who in range(1, 92))
    for name, table in (
        ("note/discharge", HEAD + notes + only + empty),
        ("hosp/drgcodes", "subject_id,hadm_id,drg_type,drg_code,description\n" + drgs),
    ):
        path = tmp_path / "mimic" / f"{name}.csv.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress(table.encode()))
    record, cohort = prepare(f"data.dir={tmp_path / 'mimic'}")
    assert cohort["text"].str.extract(r"([A-Z]{4,})").value_counts().sort("text").rows() == [
        ("ALONE", 10),
        ("KEPT", 80),
    ]
    assert excluded(record)["of a summary, not an addendum to one"] == 81
    assert excluded(record)["one an admission"] == 80


def test_prepare_reads_the_labels_aloud(
    tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    rows = [{"t": f"note {n}", "y": ["DRG 291", "DRG 194"][n % 2]} for n in range(60)]
    printed = command("src.prepare", *words_of(tmp_path, rows), f"data.out={tmp_path / 'out'}").stdout
    assert printed.splitlines()[0] == (
        "labels in y: 60 notes, 2 MS-DRGs of v34 by code (194: SIMPLE PNEUMONIA AND PLEURISY WI..., 291: HEART FAILURE "
        "AND SHOCK WITH MCC); data.labels=any would make them classes"
    )
