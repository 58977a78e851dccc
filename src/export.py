"""Writes a finished run for plain transformers and peft: `python -m src.export run=runs/NAME out=DIR`."""

import dataclasses
import sys
from pathlib import Path

from src.cli.command import command, with_first_named
from src.config.export import ExportConfig


def export(cfg: ExportConfig) -> None:
    """Merges the run's adapter into its base and writes model, tokenizer, adapter and card to `out`.

    Raises:
        UserError: cohort, base or adapter cannot be had, or the written model does not give the run's logits.
    """
    from src.evaluation.reopen import reopen
    from src.exchange.folder import pick_written, write_export
    from src.runs.folder import RunFolder

    run, out = Path(cfg.run), Path(cfg.out)
    record, session = reopen(run, cfg.device, cfg.data_dir)
    session = dataclasses.replace(session, precision=pick_written(cfg.precision, session.precision))
    difference = write_export(session, record, RunFolder(run).adapter, out, cfg.notes)
    print(f"{out}: plain transformers gives the run's logits, to {difference:.1e}")
    print("a model trained on MIMIC notes must not be published: README.md there says why")


def main() -> None:
    """The command; its first word may be the run alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "run")
    command(ExportConfig, "export", export)


if __name__ == "__main__":
    main()
