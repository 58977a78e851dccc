"""Reads notes that lie in a folder, a text file each; the name of a file without its ending is the note's id."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

import polars as pl

from src.cli.errors import UserError
from src.cli.progress import track
from src.cohort.encoding import AGAIN, CutShortError, encoding_of, utf8_blocks
from src.cohort.read_notes import LONGEST
from src.cohort.sources import SLICE, Columns, Piece
from src.config.dialect import Dialect

ENDINGS = (".txt", ".txt.gz")


@dataclass(frozen=True)
class TextFolder:
    """Reads the text files of a folder, in the order of their names."""

    path: Path
    dialect: Dialect
    columns: ClassVar[Columns] = Columns("text", note="id")

    def chunks(self) -> Iterator[Piece]:
        """Yields notes as `Source.chunks` does, with `row` and `note`, the name of the file.

        Raises:
            UserError: there is no text file, or one is damaged, or is not of the encoding.
        """
        paths = sorted(path for path in self.path.iterdir() if path.name.lower().endswith(ENDINGS) and path.is_file())
        if not paths:
            raise UserError(f"{self.path}: no file in it ends with {' or '.join(ENDINGS)}, and there is no MIMIC-IV")
        numbered = track(enumerate(paths, 1), total=len(paths), what=f"reading {self.path.name}", unit="file")
        for _ in range(0, len(paths), SLICE):
            rows: list[tuple[int, str]] = []
            notes: list[bytes] = []
            rejected: list[tuple[int, str]] = []
            for number, path in islice(numbered, SLICE):
                note = self._read(path)
                if isinstance(note, str):
                    rejected.append((number, f"{path.name}: {note}"))
                else:
                    rows.append((number, path.name[: path.name.lower().rindex(".txt")]))
                    notes.append(note)
            yield pl.DataFrame(rows, schema={"row": pl.UInt32, "note": pl.String}, orient="row"), notes, rejected

    def _read(self, path: Path) -> bytes | str:
        """Reads a note as UTF-8; or says why it is none.

        Raises:
            UserError: see `chunks`.
        """
        if path.stat().st_size > 4 * LONGEST:  # a letter takes four bytes at most
            return f"longer than {LONGEST:,} bytes"
        if not path.read_bytes().strip():
            return b""
        encoding = encoding_of(path, self.dialect.encoding)
        try:
            note = b"".join(utf8_blocks(path, encoding, None, 1 << 20))
            note.decode()
        except CutShortError:
            raise UserError(f"{path}: the compressed file is cut short or damaged; {AGAIN}") from None
        except UnicodeDecodeError:
            if self.dialect.encoding is None and b"\0" not in note:
                raise UserError(
                    f"{path}: holds bytes that are no UTF-8; if it comes from Windows write {self.dialect.key}encoding="
                    f"cp1252, if it is damaged {self.dialect.key}encoding=utf-8, which leaves such files out"
                ) from None
            return f"bytes that are no {encoding.upper()}"
        return "a NUL byte" if b"\0" in note else note
