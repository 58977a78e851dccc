"""Scores each sentence of notes by what a DRG owes to it: `python -m src.explain run=DIR notes=FILE out=FILE`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.cli.command import command
from src.config.choices import Method

COLUMNS: dict[str, Any] = {
    "id": str, "drg": str, "against": str, "method": str, "start": int, "end": int, "score": float, "sentence": str,
    "drg_version": str,
}  # fmt: skip
"""Of the scores; `start` and `end` count characters of what the model is given, its sections joined."""


@dataclass
class ExplainConfig:
    """Scores each sentence of notes by what the log-probability of a DRG owes to it."""

    run: str
    """Folder of a finished run."""
    notes: str
    """CSV, Parquet or JSON lines, MIMIC-IV-Note's folder, or a folder of text files, whose names are the ids."""
    out: str
    """File for the scores, a row a sentence; its ending says its kind."""
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
    text: str | None
    """The column of texts."""
    id: str | None
    """The column of ids, of encounters, as for `src.predict`."""
    sections: bool
    """Whether notes are whole, and the sections that the run reads are found in them."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.inference.prediction_file import ENDINGS
        from src.runs.folder import RunFolder

        problems = RunFolder(Path(self.run)).problems()
        if not Path(self.notes).exists():
            problems.append(f"notes={self.notes}: no such file or folder")
        if not self.out.endswith(ENDINGS):
            problems.append(f"out={self.out}: must end with {', '.join(ENDINGS)}")
        if self.against is not None and self.drg is None:
            problems.append(f"against={self.against}: name the DRG that it is compared with too, as drg=")
        return problems


def explain(cfg: ExplainConfig) -> None:
    """Writes the scores of every sentence that the model reads of each encounter.

    Raises:
        UserError: the notes or the run cannot be read, or the model cannot be asked so.
        Interrupted: a signal came; nothing is written.
    """
    import polars as pl

    from src.cli.files import private_folder
    from src.cli.progress import track
    from src.cli.signals import Stop
    from src.config.dialect import Dialect
    from src.config.prepare import system_name
    from src.evidence.explanation import check_question, explain_note
    from src.inference.encounters import find_notes, open_encounters
    from src.inference.model import open_models
    from src.inference.prediction_file import write_file
    from src.training.quiet_libraries import quiet_libraries

    quiet_libraries()
    models = open_models([Path(cfg.run)], cfg.device, Path(cfg.data_dir) if cfg.data_dir else None)
    model = (models if cfg.sections else models.reading_whole()).first
    version = models.drg_version
    check_question(model, cfg.drg or model.space.codes[0], cfg.against, cfg.method)
    source = find_notes(Path(cfg.notes), cfg.text, cfg.id, Dialect(None, None, key=""))
    private_folder(Path(cfg.out).parent)
    unread, empty, tables = 0, 0, [pl.DataFrame(schema=COLUMNS)]
    with Stop() as stop, open_encounters(source, model.kept, None, Path(cfg.out), stop) as encounters:
        for remark in encounters.remarks:
            print(remark, file=sys.stderr, flush=True)
        for index in track(range(len(encounters)), total=len(encounters), what="explaining", unit="note"):
            rows = encounters.piece(index, 1)
            key, text = rows.select("id", "text").row(0)
            if not (text or "").strip():
                empty += 1
                continue
            drg = cfg.drg or model.space.codes[model.log_probabilities(rows, stop)[0].argmax()]
            scores = explain_note(model, text, drg, cfg.against, cfg.method, stop)
            unread += len(text.rstrip()) > scores[-1].end
            about = {"id": key, "drg": drg, "against": cfg.against, "method": str(cfg.method), "drg_version": version}
            sentences = [{**about, **vars(score), "sentence": text[score.start : score.end]} for score in scores]
            tables.append(pl.DataFrame(sentences, schema=COLUMNS))
    table = pl.concat(tables)
    write_file(Path(cfg.out), table.lazy())
    notes = len(tables) - 1
    print(f"labels: {system_name(version)}")
    print(f"scores of {table.height:,} sentences in {notes:,} note{'s' * (notes != 1)}: {cfg.out}")
    if empty:
        print(f"without a text, and without scores: {empty:,} more")
    if unread:
        print(f"not read to the end: {unread:,} of them; what stands behind has no score")


def main() -> None:
    """Runs the command."""
    command(ExplainConfig, "explain", explain)


if __name__ == "__main__":
    main()
