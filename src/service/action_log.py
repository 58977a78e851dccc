"""Logs what coders do, in SQLite: rows are only added, a form counts once, and a restart loses nothing."""

import csv
import io
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from src.cli.errors import UserError
from src.cli.files import access_mask
from src.display.spreadsheet import neutral

WAIT = 2.0
"""Seconds for which a log that another program locks is waited for."""

HERE = timedelta(minutes=30)
"""After so long a coder who opened a case, and did nothing more, is no longer said to be on it."""


@dataclass(frozen=True)
class LoggedAction:
    """Holds what a coder did with a case."""

    when: str
    """In UTC."""
    coder: str
    case: str
    arm: str
    """`assisted` or `alone`."""
    period: str
    """The study's; empty without one."""
    proposed: str
    decided: str
    """A DRG; empty for a case that is deferred."""
    action: str
    """One of `src.coding_study.desk_log.Action`."""
    reason: str
    seconds: float
    """From when the coder first opened the case after their last action on it."""
    shown: str
    """The DRGs and how many sentences were shown."""
    model: str
    cohort: str

    @property
    def outcome(self) -> str:
        """Says what was done, and the DRG where there is one."""
        return f"{self.action} {self.decided}".strip()


COLUMNS = tuple(field.name for field in fields(LoggedAction))
NAMES = ", ".join(f'"{name}"' for name in COLUMNS)

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS actions (number INTEGER PRIMARY KEY, form TEXT NOT NULL UNIQUE, {NAMES});
CREATE TABLE IF NOT EXISTS openings (number INTEGER PRIMARY KEY, "when" TEXT, coder TEXT, "case" TEXT, acted INTEGER);
CREATE TABLE IF NOT EXISTS signing (key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS proposals (note TEXT PRIMARY KEY, proposer TEXT NOT NULL, proposed TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS actions_of_case ON actions ("case");
CREATE INDEX IF NOT EXISTS openings_of_case ON openings ("case");
CREATE TRIGGER IF NOT EXISTS actions_stay BEFORE UPDATE ON actions
  BEGIN SELECT RAISE(ABORT, 'actions are only added'); END;
CREATE TRIGGER IF NOT EXISTS actions_remain BEFORE DELETE ON actions
  BEGIN SELECT RAISE(ABORT, 'actions are only added'); END;
CREATE TRIGGER IF NOT EXISTS actions_once BEFORE INSERT ON actions
  WHEN EXISTS (SELECT 1 FROM actions WHERE form = NEW.form OR number = NEW.number)
  BEGIN SELECT RAISE(ABORT, 'actions are only added'); END;
"""
"""The last trigger keeps INSERT OR REPLACE from taking a row's place."""


class LogUnavailableError(UserError):
    """The log cannot be read or written now; the message is a sentence for a coder."""


class ActionLog:
    """Holds the log of one desk; several threads share it."""

    def __init__(self, path: Path) -> None:
        """Opens the log, or makes it.

        Raises:
            UserError: it is damaged, locked, or no log of the desk.
        """
        self.path, self._lock = path, Lock()
        try:
            path.touch(0o666 & ~access_mask())
            self._base = sqlite3.connect(path, timeout=WAIT, check_same_thread=False, isolation_level=None)
            if self._base.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError
            tables = {name for (name,) in self._base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "openings" not in tables:
                raise UserError(f"log={path}: holds other tables than the desk's; name another file")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(SCHEMA)
        except (sqlite3.Error, OSError, UserError) as error:
            if hasattr(self, "_base"):
                self._base.close()
            raise error if isinstance(error, UserError) else UserError(_sentence(path, error)) from None

    def close(self) -> None:
        """Closes the file."""
        self._base.close()

    def key(self) -> bytes:
        """Returns what cookies and forms are signed by; made once a log, so that they outlive a restart."""
        with self._open() as base:
            base.execute("INSERT INTO signing SELECT ? WHERE NOT EXISTS (SELECT 1 FROM signing)", [secrets.token_hex()])
            return bytes.fromhex(base.execute("SELECT key FROM signing").fetchone()[0])

    def open_case(self, coder: str, case: str) -> None:
        """Notes that a coder opened a case; once until they act on it."""
        with self._open() as base:
            acted = base.execute(
                'SELECT coalesce(max(number), 0) FROM actions WHERE "case" = ? AND coder = ?', (case, coder)
            ).fetchone()[0]
            base.execute(
                'INSERT INTO openings ("when", coder, "case", acted) SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM '
                'openings WHERE coder = ? AND "case" = ? AND acted = ? AND "when" > ?)',
                (now(), coder, case, acted, coder, case, acted, now(-HERE)),
            )

    def seconds(self, coder: str, case: str) -> float:
        """Counts from when a coder first opened a case after their last action on it."""
        with self._open() as base:
            (opened,) = base.execute(
                'SELECT min("when") FROM openings WHERE coder = ? AND "case" = ? AND acted = (SELECT '
                'coalesce(max(number), 0) FROM actions WHERE coder = ? AND "case" = ?)',
                (coder, case, coder, case),
            ).fetchone()
        if opened is None:
            return 0.0
        return round((datetime.fromisoformat(now()) - datetime.fromisoformat(opened)).total_seconds(), 3)

    def others(self, coder: str, case: str) -> list[tuple[str, str]]:
        """Lists who else opened a case lately and did nothing since, each with the time."""
        with self._open() as base:
            return base.execute(
                'SELECT coder, max("when") FROM openings AS o WHERE "case" = ? AND coder <> ? AND "when" > ? AND NOT '
                'EXISTS (SELECT 1 FROM actions AS a WHERE a."case" = o."case" AND a.coder = o.coder AND a.number > '
                "o.acted) GROUP BY coder",
                (case, coder, now(-HERE)),
            ).fetchall()

    def add(self, form: str, action: LoggedAction, seen: int | None) -> bool:
        """Adds an action; a form that was sent before adds nothing, and is as good.

        Args:
            form: the form's token.
            action: what was done.
            seen: the last action on the case that the form showed; None in a study, where a coder acts on a case once.

        Returns:
            False, and nothing is added, where another coder acted on the case after `seen`, or this one in a study.

        Raises:
            LogUnavailableError: the file is locked or damaged, or the disk is full.
        """
        with self._open() as base:
            base.execute("BEGIN IMMEDIATE")
            if base.execute("SELECT 1 FROM actions WHERE form = ?", [form]).fetchone():
                return True
            acted = f'SELECT 1 FROM actions WHERE "case" = ? AND number > ? AND coder {"=" if seen is None else "<>"} ?'
            if base.execute(acted, (action.case, seen or 0, action.coder)).fetchone():
                return False
            marks = ", ".join("?" * (len(COLUMNS) + 1))
            base.execute(f"INSERT INTO actions (form, {NAMES}) VALUES ({marks})", (form, *astuple(action)))
            base.execute("COMMIT")
            return True

    def last(self, coder: str | None = None) -> dict[str, tuple[int, LoggedAction]]:
        """Returns the last action on each case, with its number; a coder's own with `coder`."""
        whose: Sequence[str] = [] if coder is None else [coder]
        with self._open() as base:
            rows = base.execute(
                f"SELECT number, {NAMES} FROM actions WHERE number IN (SELECT max(number) FROM actions "
                + ("WHERE coder = ? " if whose else "")
                + 'GROUP BY "case")',
                whose,
            ).fetchall()
        return {action.case: (number, action) for number, *cells in rows for action in [LoggedAction(*cells)]}

    def proposals(self, proposer: str) -> dict[str, str]:
        """Returns what was proposed before the service began, by hash of the note; removes what another proposed."""
        with self._open() as base:
            base.execute("DELETE FROM proposals WHERE proposer <> ?", [proposer])
            return dict(base.execute("SELECT note, proposed FROM proposals").fetchall())

    def keep(self, proposer: str, proposals: Mapping[str, str]) -> None:
        """Keeps what is proposed, for when the service begins again."""
        with self._open() as base:
            base.execute("BEGIN IMMEDIATE")
            rows = [(note, proposer, proposed) for note, proposed in proposals.items()]
            base.executemany("INSERT OR REPLACE INTO proposals VALUES (?, ?, ?)", rows)
            base.execute("COMMIT")

    def csv(self) -> str:
        """Writes every action as CSV, a row each in their order, in which no reason is a spreadsheet's formula."""
        with self._open() as base:
            rows = base.execute(f"SELECT {NAMES} FROM actions ORDER BY number").fetchall()
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([[neutral(str(cell)) for cell in row] for row in rows])
        return file.getvalue()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Lends the connection to one thread; what it began and did not commit is taken back."""
        with self._lock:
            try:
                yield self._base
            except sqlite3.Error as error:
                raise LogUnavailableError(_sentence(self.path, error)) from None
            finally:
                if self._base.in_transaction:
                    self._base.rollback()


def now(later: timedelta = timedelta()) -> str:
    """Writes the time in UTC, as the log has it."""
    return (datetime.now(UTC) + later).isoformat(timespec="milliseconds")


def _sentence(path: Path, error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"log={path}: another program locks it; close that one, and try again"
    if primary == sqlite3.SQLITE_FULL:
        return f"log={path}: the disk is full; free some space, and try again"
    if isinstance(error, OSError) or primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return f"log={path}: cannot be opened for writing; allow it, or name another file"
    return f"log={path}: damaged, or no SQLite file; keep it, and put back a copy or name another with log="
