"""Audits a list of DRG codes and descriptions: `python -m src.drg FILE.csv [version=v34]`."""

import sys
from collections import Counter
from pathlib import Path

from src.cli.command import report_user_errors
from src.cli.errors import UserError, raise_all
from src.cli.terminal import visible
from src.config.dialect import Dialect
from src.display.spreadsheet import print_csv

ADDED = ("title", "mdc", "type", "base_drg", "severity", "how")


def audit(path: Path, version: str = "v34", separator: str | None = None, encoding: str | None = None) -> None:
    """Prints the file as CSV with the DRG of each row and how it was decided; counts go to standard error.

    The DRG's column is named by the version. It is empty where a row was not decided, and `how` says why. Where the
    file has a column of an added one's name, as `mdc`, the added one is `v34_mdc`.

    Raises:
        UserError: the file is missing or damaged, lacks `drg_code` or `description`, or was audited before; or there is
            no such version.
    """
    from src.cohort.csv_stream import read_records
    from src.cohort.layout import look
    from src.cohort.msdrg import load_drgs

    load_drgs(version)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    dialect = Dialect(separator, encoding, key="")
    raise_all(dialect.problems(), "drg")
    layout = look(path, ["drg_code", "description"], dialect)
    layout.require(["drg_code", "description"])
    header = layout.header
    names = {name.lower(): name for name in header}
    added = [version, *(f"{version}_{name}" if name in header else name for name in ADDED)]
    if twice := [name for name in added if name in header]:
        raise UserError(f"{path}: has a column {', '.join(twice)} already; rename it first")
    print_csv([*header, *added])
    counts: Counter[str] = Counter()
    for chunk in read_records(layout, header, "auditing"):
        for row, reason in chunk.rejected:
            raise UserError(f"{path}: row {row} holds {reason}; of another encoding than UTF-8 say so, encoding=cp1252")
        cells: dict[str, str | None]
        for cells in chunk.rows.select(header).iter_rows(named=True):
            kind = cells[names["drg_type"]] if "drg_type" in names else None
            decision = _decide(cells[names["drg_code"]] or "", cells[names["description"]] or "", kind, version)
            counts["decided" if decision[0] else decision[-1]] += 1
            print_csv([*cells.values(), *decision])
    for rule, rows in counts.most_common():
        print(f"{rows:>9,}  {visible(rule)}", file=sys.stderr)


def _decide(code: str, description: str, kind: str | None, version: str) -> tuple[str, ...]:
    from src.cohort.titles import resolve

    if kind is not None and kind.strip().upper() not in ("HCFA", "MS", "MS-DRG"):
        return ("", "", "", "", "", "", f"not an MS-DRG: drg_type {kind.strip()}")
    match = resolve(code, description.strip(), version)
    drg = match.drg
    if drg is None:
        return ("", "", "", "", "", "", match.reason)
    return (drg.code, drg.title, drg.mdc, str(drg.type), drg.base_drg, drg.severity.name, match.reason)


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        if "--help" in sys.argv[1:]:
            print(__doc__)
            return
        keys = ("version", "separator", "encoding")
        options = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(tuple(f"{key}=" for key in keys)))
        files = [word for word in sys.argv[1:] if word.split("=", 1)[0] not in keys]
        if len(files) != 1 or files[0].startswith("-"):
            raise UserError(
                "python -m src.drg FILE.csv [version=v34] [separator=semicolon] [encoding=cp1252]; the file has the "
                "columns drg_code and description"
            )
        audit(Path(files[0]), **options)


if __name__ == "__main__":
    main()
