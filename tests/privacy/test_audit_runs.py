import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from src.audit import AuditConfig, audit
from src.cli.errors import UserError
from src.cohort.prepared import NOTES, SOURCE_IDS, read_cohort
from src.privacy.allowed import LoggedString
from src.privacy.audit_runs import AUDIT, audit_runs, read_clean
from src.privacy.note_matcher import MAX_LOCATIONS, WORDS, NoteMatcher, words_of
from src.privacy.offline_runs import journal_files, read_journal, record_type
from tests.privacy.frames import framed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def few(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort with few of its notes, to be quick."""
    folder = tmp_path_factory.mktemp("few") / "cohort"
    shutil.copytree(cohort, folder, ignore=shutil.ignore_patterns("tokens"))
    pl.read_parquet(cohort / NOTES)[:40].write_parquet(folder / NOTES)
    return folder


@pytest.fixture(scope="module")
def sentence(few: Path) -> str:
    """Ten words of a note, none of them struck out."""
    for text in pl.read_parquet(few / NOTES)["text"]:
        if found := re.search(r"\b[a-z]{2,}(?: [a-z]{2,}){9}\b", text):
            return found[0]
    raise AssertionError("no note has ten words in a row")


@pytest.fixture(scope="module")
def named(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort, with a person and a day in one note."""
    folder = tmp_path_factory.mktemp("named") / "cohort"
    shutil.copytree(few, folder)
    notes = pl.read_parquet(folder / NOTES)
    text = pl.concat(
        [pl.Series([notes["text"][0] + "\nSeen by Dr. Jane Featherstone on 2151-03-04."]), notes["text"][1:]]
    )
    notes.with_columns(text.alias("text")).write_parquet(folder / NOTES)
    return folder


@pytest.fixture
def run(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of a run, to plant leaks in."""
    folder = tmp_path / "run"
    shutil.copytree(runs["two"], folder, symlinks=True, ignore=shutil.ignore_patterns("checkpoints", "adapter", AUDIT))
    return folder


def plant(run: Path, *records: Any) -> None:
    """Adds records to what W&B wrote, before the last, which is its end."""
    (path,) = journal_files(run)
    bodies = [record.SerializeToString() for _, record in read_journal(path).records]
    path.write_bytes(framed([*bodies[:-1], *(record.SerializeToString() for record in records), bodies[-1]]))


def row(kind: str, **values: object) -> Any:
    """A record of configuration, summary or history."""
    record = record_type()()
    body = getattr(record, kind)
    items = body.item if kind == "history" else body.update
    for key, value in values.items():
        items.add(key=key, value_json=json.dumps(value))
    return record


def kinds(run: Path, cohort: Path | None) -> set[str]:
    (verdict,) = audit_runs([run], cohort, cohort is not None)
    return {finding.kind for finding in verdict.findings}


NOTE = f"{WORDS} words in a row of a note"


def test_real_runs_are_clean(runs: dict[str, Path], cohort: Path) -> None:
    verdicts = audit_runs(list(runs.values()), None, True)
    assert [verdict.findings for verdict in verdicts] == [[], [], []]
    for verdict in verdicts:
        assert verdict.notes == len(pl.read_parquet(cohort / NOTES))
        assert verdict.strings > 200
        assert len(verdict.files) >= 5
        assert read_clean(verdict.run) == (True, verdict.cohort)


def as_rows(text: str) -> list[Any]:
    return [row("history", word=word) for word in text.split()]


IN_RECORDS: dict[str, Callable[[str], list[Any]]] = {
    "a text of the configuration": lambda text: [row("config", about=text)],
    "a name of a metric": lambda text: [row("history", **{"_".join(text.split()[:WORDS]): 0.5})],
    "upper case, other signs": lambda text: [row("summary", x=", ".join(text.upper().split()))],
    "line breaks, escaped twice": lambda text: [row("config", x=json.dumps({"a": [text.replace(" ", "\n")]}))],
    "a word a row": as_rows,
    "base64": lambda text: [row("config", x=base64.b64encode(text.encode()).decode())],
    "base64 behind a name": lambda text: [row("config", x="run-" + base64.urlsafe_b64encode(text.encode()).decode())],
    "base64 of base64": lambda text: [row("config", x=base64.b64encode(base64.b64encode(text.encode())).decode())],
    "base64 of gzip": lambda text: [row("config", x=base64.b64encode(gzip.compress(text.encode())).decode())],
    "hex": lambda text: [row("config", x=text.encode().hex())],
    "hex of zlib": lambda text: [row("config", x=zlib.compress(text.encode()).hex())],
    "UTF-16": lambda text: [row("config", x=base64.b64encode(text.encode("utf-16-le")).decode())],
    "a table": lambda text: [row("history", t={"_type": "table", "data": [text.split()[:4], text.split()[4:]]})],
    "the console": lambda text: [record_type()(output_raw={"line": text})],
    "an alert": lambda text: [record_type()(alert={"title": "x", "text": text})],
    "an artifact": lambda text: [record_type()(artifact={"name": "x", "description": text})],
    "tags": lambda text: [record_type()(run={"run_id": "two", "project": "p", "tags": text.split()})],
    "notes of the run": lambda text: [record_type()(run={"run_id": "two", "project": "p", "notes": text})],
}


@pytest.mark.parametrize("where", IN_RECORDS)
def test_words_of_a_note_are_found_in_a_record(where: str, run: Path, few: Path, sentence: str) -> None:
    plant(run, *IN_RECORDS[where](sentence))
    assert NOTE in kinds(run, few)
    assert not read_clean(run)[0]


IN_FILES: dict[str, Callable[[str], bytes]] = {
    "files/output.log": str.encode,
    "files/media/table/t.table.json": lambda text: json.dumps({"data": [[text]]}).encode(),
    "files/media/table/t.json.gz": lambda text: gzip.compress(text.encode()),
    "logs/debug.log": lambda text: f"2026-11-25 02:18:11,057 ERROR {text!r}\n".encode(),
    "logs/debug-internal.log": lambda text: b"\n".join(text.encode().split(b" ")),
    "files/wide.txt": lambda text: text.encode("utf-16-le"),
}


@pytest.mark.parametrize("name", IN_FILES)
def test_words_of_a_note_are_found_in_a_file(name: str, run: Path, few: Path, sentence: str) -> None:
    path = journal_files(run)[0].parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + IN_FILES[name](sentence))
    assert NOTE in kinds(run, few)


def test_words_of_a_note_are_found_in_the_name_of_a_file_and_behind_a_tear(run: Path, few: Path, sentence: str) -> None:
    (run / "wandb" / sentence.replace(" ", "-")).write_text("")
    assert NOTE in kinds(run, few)
    shutil.rmtree(run / "wandb" / "cache")
    (run / "wandb" / sentence.replace(" ", "-")).unlink()
    assert not kinds(run, few)
    (path,) = journal_files(run)
    plant(run, row("config", about=sentence))
    path.write_bytes(path.read_bytes()[:-30])
    assert NOTE in kinds(run, few)


def test_ids_people_and_days_are_found(run: Path, named: Path) -> None:
    notes = pl.read_parquet(named / NOTES)
    patient, admission, note = (notes[name][5] for name in ("subject_id", "hadm_id", "note_id"))
    for planted, kind in [
        (row("config", x=f"case-{patient}"), "the id of a patient"),
        (row("history", x=float(admission)), "the id of an admission"),
        (row("config", x=note), "the id of a note"),
        (row("config", x="featherstone"), "the name of a person in a note"),
        (row("config", x="2151-03-04"), "a date in a note"),
    ]:
        plant(run, planted)
        assert kind in kinds(run, named)


def test_a_name_that_one_run_repeats_is_found_in_the_next_run_too(named: Path) -> None:
    matcher = NoteMatcher()
    matcher.add(0, [LoggedString(f"record {number}", "Featherstone") for number in range(2_000)], set())
    matcher.add(1, [LoggedString("record 1", "Featherstone")], set())
    findings = Counter(run for run, _ in matcher.against(read_cohort(named)))
    assert findings == {0: MAX_LOCATIONS, 1: 1}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, command: Callable[..., object]) -> Path:
    """A cohort of a hospital's own file, whose patients have ids of several forms."""
    folder = tmp_path_factory.mktemp("own")
    ids = ["MR1234517", "00345617", "734-56-1017", "ab/0099/x1", *(f"MR{number}" for number in range(7000000, 7000036))]
    rows = [{"who": who, "text": f"a note of words number {who[-3:]}", "y": "ab"[n % 2]} for n, who in enumerate(ids)]
    pl.DataFrame(rows).write_csv(folder / "n.csv")
    words = ["data=csv", f"data.path={folder / 'n.csv'}", "data.text=text", "data.label=y", "data.patient=who"]
    command("src.prepare", *words, "data.words=1", f"data.out={folder / 'cohort'}")
    return folder / "cohort"


WRITTEN = [
    "MR1234517", "mr1234517", "MR-1234517", "MR 1234517", "mr#001234517", "group-MR1234517-b", "MR123.4517",
    "00345617", "345617", "0000345617", "345-617", "003.456/17",
    "734-56-1017", "734561017", "734 56 1017", "0734.56.1017", "x_734_56_1017_y",
    "ab/0099/x1", "AB-0099-X1", "ab0099x1",
]  # fmt: skip


@pytest.mark.parametrize("text", WRITTEN)
def test_ids_of_a_hospital_are_found_in_every_form(text: str, run: Path, own: Path) -> None:
    (run / "result.json").unlink()
    assert "the id of a patient" not in kinds(run, own)
    plant(run, record_type()(run={"run_id": "two", "project": "p", "run_group": text}))
    assert "the id of a patient" in kinds(run, own)


@pytest.mark.parametrize("text", ["MR1234518", "345618", "0.345617", "734-56-101", "2026-11-27", "22:03:36"])
def test_what_is_like_an_id_and_none_is_no_finding(text: str, run: Path, own: Path) -> None:
    (run / "result.json").unlink()
    plant(run, record_type()(run={"run_id": "two", "project": "p", "run_group": text}))
    assert not {kind for kind in kinds(run, own) if kind.startswith("the id of")}


def test_a_cohort_that_lacks_the_ids_of_its_source_is_said(run: Path, own: Path, tmp_path: Path) -> None:
    shutil.copytree(own, tmp_path / "cohort")
    (tmp_path / "cohort" / SOURCE_IDS).unlink()
    (run / "result.json").unlink()
    (verdict,) = audit_runs([run], tmp_path / "cohort", True)
    assert "ids in the form of their source are not in the cohort" in "\n".join(verdict.lines())


def test_a_verdict_by_earlier_rules_holds_no_longer(run: Path) -> None:
    audit_runs([run], None, False)
    held = json.loads((run / AUDIT).read_text())
    del held["rules"]
    (run / AUDIT).write_text(json.dumps(held))
    assert not read_clean(run)[0]


FORMS = {
    "a path": row("config", x="/home/somebody/notes"),
    "an address": row("config", x="somebody@example.org"),
    "a date": row("config", x="2026-01-31"),
    "a text as a metric": row("history", x="word"),
    "the name of an identifier": row("summary", hadm_id=1),
    "a list": row("history", x=[1, 2, 3]),
    "encoded text": row("config", x=base64.b64encode(b"Mr Smith was here").decode().rstrip("=")),
    "the machine's name": record_type()(run={"run_id": "two", "project": "p", "host": "node17"}),
    "git": record_type()(run={"run_id": "two", "project": "p", "git": {"commit": "abc"}}),
    "the environment": record_type()(environment={"os": "linux"}),
    "files": record_type()(files={"files": [{"path": "x"}]}),
    "a record of no kind": record_type()(num=99),
}


@pytest.mark.parametrize("what", FORMS)
def test_what_is_not_of_an_allowed_form_is_found_without_any_note(what: str, run: Path) -> None:
    assert not kinds(run, None)
    plant(run, FORMS[what])
    assert kinds(run, None)


def test_fields_that_this_version_does_not_know_are_found(run: Path) -> None:
    (path,) = journal_files(run)
    bodies = [record.SerializeToString() for _, record in read_journal(path).records]
    unknown = b"\xda\x3e\x05hello"  # field 1003, five bytes
    path.write_bytes(framed([*bodies[:-1], bodies[-1] + unknown]))
    assert kinds(run, None) == {"a field that is not known"}


def test_a_link_to_elsewhere_and_a_damaged_file_are_found(run: Path, tmp_path: Path) -> None:
    (run / "wandb" / "latest-run").unlink()
    (run / "wandb" / "latest-run").symlink_to(tmp_path)
    assert kinds(run, None) == {"a link to something that is not W&B's"}
    (path,) = journal_files(run)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert "a file of records that cannot be read" in kinds(run, None)


def test_no_finding_says_what_was_found(
    run: Path, few: Path, sentence: str, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    plant(run, row("config", **{sentence: sentence}), record_type()(output_raw={"line": sentence}))
    done = command("src.audit", str(run), f"data_dir={few}", ok=False)
    assert done.returncode == 1
    told = done.stdout + done.stderr + json.dumps(json.loads((run / AUDIT).read_text())["findings"])
    assert NOTE in told
    words = words_of(told)
    rows = {" ".join(words[at : at + 3]) for at in range(len(words) - 2)}
    asked = sentence.split()
    assert not rows & {" ".join(asked[at : at + 3]) for at in range(len(asked) - 2)}


def test_a_run_of_wandb_with_its_defaults_is_caught(tmp_path: Path, few: Path, sentence: str) -> None:
    code = (
        "import sys, wandb\n"
        "folder, text = sys.argv[1:]\n"
        "run = wandb.init(project='p', dir=folder, mode='offline', config={'text': text}, notes=text)\n"
        "print(text)\n"
        "run.log({'loss': 0.5, 'table': wandb.Table(columns=['a'], data=[[text]])})\n"
        "artifact = wandb.Artifact('x', 'dataset', description=text)\n"
        "with artifact.new_file('x.txt') as file:\n"
        "    file.write(text)\n"
        "run.log_artifact(artifact)\n"
        "run.finish()\n"
    )
    folders = {f"WANDB_{name}_DIR": str(tmp_path / "wandb" / name.lower()) for name in ("CACHE", "DATA", "ARTIFACT")}
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | folders
    done = [sys.executable, "-c", code, str(tmp_path), sentence]
    subprocess.run(done, cwd=tmp_path, env=env, capture_output=True, check=True, timeout=120)
    (verdict,) = audit_runs([tmp_path], few, True)
    with_note = {finding.location for finding in verdict.findings if finding.kind == NOTE}
    for place in ("run.config", "run.notes", "output_raw", "artifact", "of another form"):
        assert any(place in each for each in with_note), place
    forms = {finding.kind for finding in verdict.findings}
    assert {"a record of kind environment", "a record of kind output_raw", "the name of the machine"} <= forms


def test_a_cohort_that_cannot_be_read_is_refused_unless_notes_are_left_out(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="notes=no"):
        audit_runs([run], tmp_path / "gone", True)
    assert not (run / AUDIT).exists()
    (verdict,) = audit_runs([run], None, False)
    assert "no notes, as notes=no asked" in verdict.lines()[0]
    assert read_clean(run) == (True, None)
    (run / "result.json").unlink()
    with pytest.raises(UserError, match="data_dir=COHORT"):
        audit_runs([run], None, True)


def test_one_run_that_cannot_be_audited_is_named_and_the_others_are_audited(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "many"
    shutil.copytree(run, folder / "good")
    shutil.copytree(run, folder / "bad")
    (folder / "bad" / "result.json").unlink()
    with pytest.raises(SystemExit) as ended:
        audit(AuditConfig(runs=[str(folder)], data_dir=None, notes=True))
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert f"{folder / 'good'}: clean" in said
    assert f"not audited: {folder / 'bad'}: has no result.json that names its cohort" in said
    assert said.endswith("2 runs, 1 clean\n")
    assert read_clean(folder / "good")[0]
    with pytest.raises(UserError, match="bad: has no result"):
        audit(AuditConfig(runs=[str(folder / "bad")], data_dir=None, notes=True))


def test_a_verdict_holds_for_these_bytes_only(run: Path) -> None:
    audit_runs([run], None, False)
    assert read_clean(run)[0]
    (run / "wandb" / "more.txt").write_text("x")
    assert not read_clean(run)[0]
