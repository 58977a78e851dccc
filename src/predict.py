"""Predicts the DRGs of notes by finished runs: `python -m src.predict run=DIR notes=FILE out=FILE`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import as_list, command, with_first_named


@dataclass
class PredictConfig:
    """Predicts the DRG of each encounter of a file of notes, says how sure it is, and which are left to a coder."""

    run: list[str]
    """Folders of finished runs of one cohort; of several the mean is taken."""
    notes: str
    """CSV, Parquet or JSON lines, MIMIC-IV-Note's folder, or a folder of text files, whose names are the ids."""
    out: str
    """File for the predictions, a row an encounter; its ending says its kind."""
    text: str | None
    """The column of texts."""
    id: str | None
    """The column of ids: of encounters, each there once. In MIMIC-IV's table an admission's first summary counts."""
    sections: bool
    """Whether notes are whole, and the sections that the runs read are found in them."""
    hosp: str | None
    """MIMIC-IV's folder `hosp`, or the one above it; for models that read facts of the admission."""
    separator: str | None
    """Between the columns of a CSV file."""
    encoding: str | None
    """Of a text file."""
    top: int
    """DRGs that are listed of each encounter."""
    aim: float
    """Accuracy that decided encounters are to have, by the runs' validation notes."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    data_dir: str | None
    """The cohort of runs that an earlier version trained."""
    table5: str | None
    """CMS's Table 5 with the relative weights; null takes that of the version's year, where it is at hand."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.config.dialect import Dialect
        from src.inference.prediction_file import ENDINGS
        from src.runs.folder import RunFolder

        problems = [problem for run in self.run for problem in RunFolder(Path(run)).problems()]
        if not self.run:
            problems.append("run=[]: name the folder of a finished run")
        if not Path(self.notes).exists():
            problems.append(f"notes={self.notes}: no such file or folder")
        if not self.out.endswith(ENDINGS):
            problems.append(f"out={self.out}: must end with {', '.join(ENDINGS)}")
        elif Path(self.out).exists():
            problems.append(f"out={self.out}: is there already; name another, or remove it first")
        if self.top < 1:
            problems.append(f"top={self.top}: must be at least 1")
        if not 0 < self.aim <= 1:
            problems.append(f"aim={self.aim}: must be above 0 and at most 1")
        for key in ("hosp", "data_dir"):
            if (folder := getattr(self, key)) is not None and not Path(folder).is_dir():
                problems.append(f"{key}={folder}: no such folder")
        if self.table5 is not None and not Path(self.table5).is_file():
            problems.append(f"table5={self.table5}: no such file; it is a CMS Table 5 as text")
        return problems + Dialect(self.separator, self.encoding, key="").problems()


def predict(cfg: PredictConfig) -> None:
    """Reads the notes as the runs' cohort was read, predicts each encounter, and writes `out`.

    Raises:
        UserError: a run, the notes, or what a model needs beside them cannot be read.
        Interrupted: a signal came; the same command goes on from there.
    """
    import time

    import polars as pl

    from src.cli.files import private_folder
    from src.cli.progress import minutes
    from src.cli.signals import Stop
    from src.cohort.weights import weights_for
    from src.config.dialect import Dialect
    from src.config.prepare import system_name
    from src.inference.encounters import find_notes, open_encounters
    from src.inference.model import open_models
    from src.inference.parts import Parts, propose_all
    from src.inference.prediction_file import summary_lines, write_file
    from src.inference.proposals import Proposer
    from src.training.quiet_libraries import quiet_libraries

    quiet_libraries()
    begun, out = time.monotonic(), Path(cfg.out)
    models = open_models([Path(run) for run in cfg.run], cfg.device, Path(cfg.data_dir) if cfg.data_dir else None)
    if not cfg.sections:
        models = models.reading_whole()
    hosp = models.facts_in(cfg.hosp)
    proposer = Proposer(models, weights_for(models.drg_version, cfg.table5), cfg.top, cfg.aim)
    source = find_notes(Path(cfg.notes), cfg.text, cfg.id, Dialect(cfg.separator, cfg.encoding, key=""))
    if not out.parent.is_dir():
        private_folder(out.parent)
    with Stop() as stop, open_encounters(source, models.first.kept, hosp, out, stop) as encounters:
        parts = Parts(out, proposer.fingerprint(encounters.fingerprint))
        with parts.alone():
            done = [f"goes on behind {parts.done:,} of {len(encounters):,} encounters"] if parts.done else []
            for remark in [*encounters.remarks, *proposer.remarks, *done]:
                print(remark, file=sys.stderr, flush=True)
            propose_all(proposer, encounters, parts, stop)
            lines = summary_lines(parts.frames())
            write_file(out, pl.scan_parquet(parts.paths), cfg.top)
            parts.remove()
    seconds = time.monotonic() - begun
    pace = f", {models.tokens_scored / seconds:,.0f} tokens/s" if models.tokens_scored else ""
    labels = f"labels: {system_name(models.drg_version)}"
    print("\n".join([*lines, f"in {minutes(seconds)}{pace}", labels, f"predictions: {out}"]))


def with_runs_listed(words: Sequence[str]) -> list[str]:
    """Writes `run=A,B` as a list.

    >>> with_runs_listed(["run=runs/a,runs/b", "out=o.csv"])
    ["run=['runs/a','runs/b']", 'out=o.csv']
    """
    listed = []
    for word in words:
        key, _, value = word.partition("=")
        several = [value] if Path(value).exists() else value.split(",")
        listed.append(as_list(key, several) if key == "run" and not value.startswith("[") else word)
    return listed


def main() -> None:
    """Runs the command, whose first word may be the run alone."""
    sys.argv[1:] = with_runs_listed(with_first_named(sys.argv[1:], "run"))
    command(PredictConfig, "predict", predict)


if __name__ == "__main__":
    main()
