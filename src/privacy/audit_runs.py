"""The audit examines what W&B wrote of runs and what `src.sync` would send, by form and against the cohorts' notes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from src.cli.errors import UserError, raise_all
from src.cli.files import check_folder
from src.cli.json_files import Schema, read_json, write_json
from src.cli.progress import track
from src.cohort.prepared import SOURCE_IDS, Cohort, read_cohort
from src.privacy.allowed import Finding, LoggedString, examine_replay
from src.privacy.decodings import WORD
from src.privacy.identifiers import short_ids
from src.privacy.note_matcher import NoteMatcher
from src.privacy.offline_runs import journal_files
from src.privacy.wandb_files import hashes_of, written
from src.runs.find import run_folders
from src.runs.folder import RunFolder
from src.runs.record import RunRecord, read_cohort_of, read_record
from src.tracking.replay import read_replay

AUDIT = RunFolder(Path()).audit.name

RULES = 5
"""Of the audit; a verdict by earlier ones, which did not look through what would be sent, let one run's leak hide the
next run's, or passed over what follows a compressed stream, holds no longer."""

SCHEMA: Schema = {"rules": int, "clean": bool, "cohort": str | None, "files": dict[str, str]}

SHOWN = 12
"""Findings of a run that are printed; its `audit.json` has all."""


@dataclass
class Verdict:
    """Holds what the audit of one run came to.

    Attributes:
        run: its folder.
        cohort: fingerprint of the notes that it was matched against; None where it was not.
        notes: how many they are.
        unseen: patients and admissions whose ids are too short to be looked for.
        forms: whether ids are known in the form that their source had.
        strings: how many W&B holds.
        files: SHA-256 of each file that was audited, by its path below `run`.
    """

    run: Path
    files: dict[str, str]
    cohort: str | None = None
    notes: int = 0
    unseen: int = 0
    forms: bool = True
    strings: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Says whether nothing was found."""
        return not self.findings

    def lines(self) -> list[str]:
        """Words the verdict, a line each."""
        contents = f"{len(self.files)} files with {self.strings:,} strings"
        against = f"{self.notes:,} notes of cohort {self.cohort}" if self.cohort else "no notes, as notes=no asked"
        head = "clean" if self.clean else f"{len(self.findings)} finding{'s' * (len(self.findings) > 1)}"
        lines = [f"{self.run}: {head}; {contents}, against {against}"]
        if self.unseen:
            lines.append(f"  ids of {self.unseen:,} patients and admissions are too short to be looked for")
        if not self.forms:
            lines.append("  ids in the form of their source are not in the cohort, only numbers; prepare it again")
        lines += [f"  {finding.location}: {finding.kind}" for finding in self.findings[:SHOWN]]
        hidden = len(self.findings) - SHOWN
        return lines + ([f"  and {hidden} more in {self.run / AUDIT}"] if hidden > 0 else [])


def runs_in(words: Sequence[str]) -> list[Path]:
    """Lists the runs that a command names: each word a run's folder, or a folder of runs.

    Raises:
        UserError: naming every word where W&B wrote nothing.
    """
    runs: list[Path] = []
    problems = []
    for folder in map(Path, words):
        inside = run_folders(folder, _is_run)
        if _is_run(folder):
            runs.append(folder)
        elif inside:
            runs += inside
        else:
            problems.append(f"{folder}: W&B wrote nothing there; name a run's folder, or a folder of runs")
    raise_all(problems, "runs")
    return list(dict.fromkeys(runs))


def _is_run(path: Path) -> bool:
    return RunFolder(path).wandb.is_dir() or (path.name == "wandb" and bool(journal_files(path)))


def audit_runs(runs: Sequence[Path], data_dir: Path | None, notes: bool) -> list[Verdict]:
    """Audits runs, those of one cohort against its notes in one pass, and writes each run's `audit.json`.

    Args:
        data_dir: the cohort of all runs; None takes what each run's record names.
        notes: False matches against no notes.

    Raises:
        UserError: a run's cohort cannot be read.
    """
    homes = {run: cohort_of(run, data_dir) if notes else None for run in runs}
    verdicts: dict[Path, Verdict] = {}
    for folder in dict.fromkeys(cohort.folder if cohort else None for cohort in homes.values()):
        members = [run for run, cohort in homes.items() if (cohort.folder if cohort else None) == folder]
        for verdict in _audit(members, homes[members[0]]):
            write_audit(verdict)
            verdicts[verdict.run] = verdict
    return [verdicts[run] for run in runs]


def unreadable(runs: Sequence[Path], data_dir: Path | None, notes: bool) -> dict[Path, str]:
    """Says why runs cannot be audited: their notes cannot be had, or a verdict cannot be written beside them."""
    reasons: dict[Path, str] = {}
    for run in runs:
        try:
            check_folder(run, f"{AUDIT} is written there")
            if notes:
                cohort_of(run, data_dir)
        except UserError as error:
            reasons[run] = str(error)
    return reasons


def _audit(runs: Sequence[Path], cohort: Cohort | None) -> Iterator[Verdict]:
    matcher, verdicts = NoteMatcher(), list[Verdict]()
    for number, run in enumerate(track(runs, total=len(runs), what="runs read", unit="run")):
        verdict = Verdict(run, hashes_of(run))
        strings: list[LoggedString] = []
        for item in (*written(run), *_replayed(run, cohort)):
            (strings if isinstance(item, LoggedString) else verdict.findings).append(item)  # type: ignore[arg-type]
        verdict.strings = sum(not string.number for string in strings)
        if cohort:
            matcher.add(number, strings, _own_words(run))
        verdicts.append(verdict)
    if cohort:
        count, unseen = sum(split["notes"] for split in cohort.record["splits"].values()), short_ids(cohort)
        for verdict in verdicts:
            verdict.cohort, verdict.notes, verdict.unseen = cohort.fingerprint, count, unseen
            verdict.forms = cohort.protocol != "own" or (cohort.folder / SOURCE_IDS).is_file()
        for number, finding in matcher.against(cohort):
            verdicts[number].findings.append(finding)
    for verdict in verdicts:
        verdict.findings = list(dict.fromkeys(verdict.findings))
        # The verdict is on bytes: those that changed since they were read have not been judged.
        if hashes_of(verdict.run) != verdict.files:
            verdict.findings.append(
                Finding("wandb", "files that changed while they were audited; is the run going on?")
            )
    yield from verdicts


def _replayed(run: Path, cohort: Cohort | None) -> Iterator[LoggedString | Finding]:
    """Examines what would be sent of a run, which is nothing where `src.sync` refuses to send it."""
    try:
        replay = read_replay(run, cohort.folder if cohort else None)
    except UserError:
        return
    yield from examine_replay(replay)


def cohort_of(run: Path, data_dir: Path | None) -> Cohort:
    """Reads the cohort whose notes a run has read.

    Raises:
        UserError: it cannot be had, or is not the one that the run's record names.
    """
    record = _record(run)
    if record is None and data_dir is None:
        raise UserError(
            f"{run}: has no {RunFolder(run).record.name} that names its cohort; write data_dir=COHORT, or notes=no to "
            "audit without notes"
        )
    try:
        return read_cohort_of(record, run, data_dir) if record else read_cohort(data_dir or Path())
    except UserError as error:
        raise UserError(f"{run}: its notes cannot be looked for: {error}, or notes=no to audit without notes") from None


def _record(run: Path) -> RunRecord | None:
    try:
        return read_record(run)
    except UserError:
        return None


def _own_words(run: Path) -> set[str]:
    """Collects the words of which a run's record names its axes and metrics."""
    record = _record(run)
    keys = [*record.axes, *record.metrics, *record.counts, *record.seconds] if record else []
    return {word.casefold() for key in keys for word in WORD.findall(key)}


def write_audit(verdict: Verdict) -> None:
    """Writes a run's `audit.json`, whole or not at all."""
    content = {
        "rules": RULES,
        "clean": verdict.clean,
        "cohort": verdict.cohort,
        "notes": verdict.notes,
        "ids_too_short": verdict.unseen,
        "strings": verdict.strings,
        "findings": [vars(finding) for finding in verdict.findings],
        "files": verdict.files,
    }
    write_json(verdict.run / AUDIT, content, SCHEMA, indent=2)


def read_clean(run: Path) -> tuple[bool, str | None]:
    """Says whether these very bytes were found clean, and against which cohort; None where against none."""
    try:
        verdict = read_json(run / AUDIT, SCHEMA)
    except (FileNotFoundError, UserError):
        return False, None
    clean = verdict["rules"] == RULES and verdict["clean"] and verdict["files"] == hashes_of(run)
    return clean, verdict["cohort"]
