"""Writes a finished run for plain transformers and peft: `python -m src.export run=runs/NAME out=DIR`."""

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, with_first_named
from src.config.choices import Precision


@dataclass
class ExportConfig:
    """Writes a finished run as a folder that plain transformers loads, with its adapter in peft's format."""

    run: str
    """Folder of a finished run."""
    out: str
    """Folder for the model; absent or empty."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the run's record names."""
    precision: Precision
    """Number format of the written weights: `auto`, `fp32`, `bf16` or `fp16`."""
    notes: int
    """Test notes on which the written model must give the run's logits before it takes its place."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.runs.folder import RunFolder

        problems = RunFolder(Path(self.run)).problems()
        out = Path(self.out)
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            problems.append(f"out={self.out}: not empty; name another folder, or remove it first")
        if self.precision.is_quantised:
            problems.append(f"precision={self.precision}: adapters are merged into whole weights; write fp32 or bf16")
        if self.notes < 1:
            problems.append(f"notes={self.notes}: must be at least 1")
        return problems


def export(cfg: ExportConfig) -> None:
    """Merges the run's adapter into its base and writes model, tokenizer, adapter and card to `out`.

    Raises:
        UserError: cohort, base or adapter cannot be had, or the written model does not give the run's logits.
    """
    from src.evaluation.reopen import reopen
    from src.exchange.exported_folder import pick_written, write_export
    from src.runs.folder import RunFolder
    from src.runs.record import read_record
    from src.training.llama import as_llama

    run, out = Path(cfg.run), Path(cfg.out)
    record = read_record(run)
    predictor = reopen(record, run, cfg.device, cfg.data_dir)
    trained = predictor.data
    as_llama(predictor, f"model={trained.cfg.model.name}: is no LLaMA, and has no base, adapters or tokens")
    written = dataclasses.replace(trained.cfg, precision=pick_written(cfg.precision, trained.precision))
    difference = write_export(dataclasses.replace(trained, cfg=written), record, RunFolder(run).adapter, out, cfg.notes)
    print(f"{out}: plain transformers gives the run's logits, to {difference:.1e}")
    print("a model trained on MIMIC notes must not be published: README.md there says why")


def main() -> None:
    """Runs the command, whose first word may be the run alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "run")
    command(ExportConfig, "export", export)


if __name__ == "__main__":
    main()
