"""Whatever W&B wrote below a run's `wandb` folder is examined: each file by its form, and every string in it."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from src.cli.errors import UserError
from src.privacy.allowed import Finding, LoggedString, examine, examine_file
from src.privacy.decodings import texts_of
from src.privacy.offline_runs import journal_files, read_journal
from src.runs.folder import RunFolder
from src.tracking.replay import hashes_of_sources

LOGS = re.compile(r"(.*/)?(logs/)?[a-z\-]*debug[a-z\-]*(\.\d{8}\.\d{6}|-\d{8}_\d{6}|\.[a-z]{1,10})?\.log")
"""W&B's logs of itself: they stay on this machine, so paths may stand in them, but no note and no patient."""

TARGETS = re.compile(r"(offline-)?run-\d{8}_\d{6}-[\w.+-]+|[a-z-]*debug[a-z-]*(-\d{8}_\d{6})?\.log")
"""What W&B's links are to, whole paths; of a run that was moved they lead nowhere."""

MARKS = re.compile(r".*\.wandb\.(synced|syncstate)")
"""What `wandb sync` leaves beside a file that it sent."""

ONLINE = re.compile(r"(.*/)?files/(config\.yaml|wandb-summary\.json)")
"""What it writes beside the records of an online run."""

STAMP = re.compile(r"(?<!\d)(\d{8}[_.]\d{6}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?Z?)(?!\d)")
MACHINE = re.compile(
    r"wandb-\d+-\d+-\d+|port-\d+|\bpid to \d+|\"(?:p?pid|idle-timeout|log-level)\":\d+|Thread(?:-\d+)?:\d+"
    r"|'[\w/]+': -?[\d.e+-]+(?=[,}])"
)
"""Numbers in W&B's logs that are of processes, sockets and times, or values that the records hold too."""

LARGEST = 64 * 2**20
"""Bytes of a file other than a record file or a log; W&B writes none so large under our policy."""


def files_of(run_dir: Path) -> list[Path]:
    """Lists every file and link below a run's `wandb`, in a fixed order."""
    return sorted(path for path in home_of(run_dir).rglob("*") if path.is_symlink() or not path.is_dir())


def home_of(run_dir: Path) -> Path:
    """Finds the folder that W&B wrote: `wandb` of a run, or the given one where that is what it wrote.

    Raises:
        UserError: it wrote nothing here.
    """
    if RunFolder(run_dir).wandb.is_dir():
        return RunFolder(run_dir).wandb
    if journal_files(run_dir):
        return run_dir
    raise UserError(f"{run_dir}: W&B wrote nothing there; name a run's folder, or a folder of runs")


def hashes_of(run_dir: Path) -> dict[str, str]:
    """Hashes each audited file by SHA-256, W&B's and those that the run is sent from, by its path below `run_dir`.

    Of a link it is that of where it points.
    """
    hashes = hashes_of_sources(run_dir)
    for path in files_of(run_dir):
        body = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        hashes[str(path.relative_to(run_dir))] = hashlib.sha256(body).hexdigest()
    return hashes


def written(run_dir: Path) -> Iterator[LoggedString | Finding]:
    """Yields every string and every finding by form, file after file; names of files and folders are strings too."""
    home, unknown_files = home_of(run_dir), 0
    for path in files_of(run_dir):
        inside = path.relative_to(home).as_posix()
        recognised = _is_known(path, inside)
        unknown_files += not recognised
        location = _location(path, inside) if recognised else f"wandb, file {unknown_files} of another form"
        yield LoggedString(location, STAMP.sub(" ", inside), key=True)
        if path.is_symlink():
            yield LoggedString(location, STAMP.sub(" ", str(path.readlink())), key=True)
            if not TARGETS.fullmatch(path.readlink().name):
                yield Finding(location, "a link to something that is not W&B's")
        elif path.suffix == ".wandb":
            yield from _records(path, location)
        elif ONLINE.fullmatch(inside):
            yield from examine_file(path.name, path.read_text("utf-8", "replace"), location)
        else:
            yield from _file(path, location, recognised, bool(LOGS.fullmatch(inside)))


def _is_known(path: Path, inside: str) -> bool:
    if path.is_symlink():
        return path.name == "latest-run" or bool(LOGS.fullmatch(inside))
    return bool(
        LOGS.fullmatch(inside) or MARKS.fullmatch(inside) or ONLINE.fullmatch(inside) or path.suffix == ".wandb"
    )


def _location(path: Path, inside: str) -> str:
    """Names a file as a finding does: by its kind and its start, for its own name may be a patient's."""
    start = STAMP.search(inside)
    form = "log" if path.suffix == ".log" else "link" if path.is_symlink() else f"*{path.suffix}"
    return f"wandb, {form} of {start[0]}" if start else f"wandb, {form}"


def _records(path: Path, location: str) -> Iterator[LoggedString | Finding]:
    try:
        journal = read_journal(path)
    except UserError as error:
        offset = re.search(r"byte \d+", str(error))
        yield Finding(f"{location}, {offset[0] if offset else 'as a whole'}", "a file of records that cannot be read")
        for text in texts_of(path.read_bytes()):
            yield LoggedString(location, text)
        return
    for number, (_, record) in enumerate(journal.records, start=1):
        yield from examine(record, f"{location}, record {number}")
    if journal.torn:  # what is left of a record that a kill cut
        last = journal.records[-1][0] if journal.records else 0
        yield LoggedString(f"{location}, its torn end", path.read_bytes()[last:].decode("utf-8", "replace"))


def _file(path: Path, location: str, recognised: bool, log: bool) -> Iterator[LoggedString | Finding]:
    if not recognised:
        yield Finding(location, "a file that W&B does not write under our policy")
    if path.stat().st_size > LARGEST:
        yield Finding(location, "a file too large to be W&B's")
        return
    if not log:
        for text in texts_of(path.read_bytes()):
            yield LoggedString(location, text)
        return
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        yield LoggedString(f"{location}, line {number}", _without_machine(line), log=True)


def _without_machine(line: str) -> str:
    """Blanks times, processes and sockets in a line of a log.

    >>> _without_machine('{"time":"2026-11-25T02:18:11.146808085Z","msg":"main: starting","pid":23188}')
    '{"time":" ","msg":"main: starting", }'
    """
    return MACHINE.sub(" ", STAMP.sub(" ", line))
