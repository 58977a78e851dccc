"""Scores each sentence of notes by what a DRG owes to it: `python -m src.explain run=DIR notes=FILE out=FILE`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src.cli.command import command
from src.config.choices import Method

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass
class ExplainConfig:
    """Scores each sentence of notes by what the log-probability of a DRG owes to it."""

    run: str
    """Folder of a finished run."""
    notes: str
    """CSV file or JSON lines with id and text, or a folder of .txt files; the text is what the model reads."""
    out: str
    """File for the scores, a row a sentence: .csv, .jsonl or .parquet."""
    drg: str | None
    """DRG that is explained; null takes for each note the one that the model chooses."""
    against: str | None
    """Another DRG: what speaks for `drg` rather than for it; null for none."""
    method: Method
    """`occlusion`, `gradient_attention`, `attingrad`, `integrated_gradients` or `linear`; not every model has each."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    data_dir: str | None
    """The cohort of a run that kept nothing of it, which an earlier version trained."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.runs.folder import RunFolder

        problems = []
        if not RunFolder(Path(self.run)).record.is_file():
            problems.append(f"run={self.run}: no result.json there; it is the folder of a finished run, as runs/NAME")
        if Path(self.out).suffix not in ENDINGS:
            problems.append(f"out={self.out}: must end in {', '.join(ENDINGS)}")
        if Path(self.out).is_dir():
            problems.append(f"out={self.out}: is a folder; name a file")
        if self.against is not None and self.drg is None:
            problems.append(f"against={self.against}: name the DRG that it is compared with too, as drg=")
        return problems


def explain(cfg: ExplainConfig) -> None:
    """Writes the scores of every sentence that the model reads of the notes.

    Raises:
        UserError: the notes or the run cannot be read, or the model cannot be asked so.
    """
    from src.cli.files import check_folder

    check_folder(Path(cfg.out).parent, "name another with out=")
    import polars as pl

    from src.cli.files import atomic_write
    from src.cli.progress import track
    from src.cli.signals import Stop
    from src.evidence.explanation import check_question, explain_note
    from src.evidence.given_notes import read_notes
    from src.inference.model import open_model
    from src.training.quiet_libraries import quiet_libraries

    quiet_libraries()
    rows = read_notes(Path(cfg.notes))
    model = open_model(Path(cfg.run), cfg.device, Path(cfg.data_dir) if cfg.data_dir else None)
    check_question(model, cfg.drg or model.space.codes[0], cfg.against, cfg.method)
    chosen = [model.space.codes[index] for index in model.log_probabilities(rows, Stop()).argmax(1)]
    unread, tables, kinds = 0, [], {"against": pl.String}
    for key, text, choice in track(zip(*rows, chosen, strict=True), total=len(chosen), what="explaining", unit="note"):
        scores = explain_note(model, text, drg := cfg.drg or choice, cfg.against, cfg.method)
        unread += len(text.rstrip()) > scores[-1].end
        about = {"id": key, "drg": drg, "against": cfg.against, "method": str(cfg.method)}
        tables.append(pl.DataFrame([{**about, **vars(score)} for score in scores], schema_overrides=kinds))
    table = pl.concat(tables)
    with atomic_write(Path(cfg.out)) as tmp:
        _write(tmp, table, Path(cfg.out).suffix)
    print(f"scores of {table.height:,} sentences in {len(chosen):,} note{'s' * (len(chosen) != 1)}: {cfg.out}")
    if unread:
        print(f"not read to the end: {unread:,} of them; what stands behind has no score")


def _write(path: Path, table: "pl.DataFrame", ending: str) -> None:
    from src.display.spreadsheet import write_frame

    if ending == ".csv":
        write_frame(path, table)
    elif ending == ".parquet":
        table.write_parquet(path)
    else:
        table.write_ndjson(path)


def main() -> None:
    """Runs the command."""
    command(ExplainConfig, "explain", explain)


if __name__ == "__main__":
    main()
