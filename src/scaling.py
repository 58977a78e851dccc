"""Says how metrics move with size, context, rank and compute: `python -m src.scaling SOURCE`."""

import sys
import time
from pathlib import Path

from src.config.scaling import ScalingConfig
from src.shell.command import command


def scaling(cfg: ScalingConfig) -> None:
    """Prints the analysis of what is finished now and writes it to `to`; again and again when `live`.

    Raises:
        UserError: the source is none, holds no finished run, or a record is damaged.
    """
    from src.analysis.scaling_tables import as_text, write_scaling
    from src.analysis.sources import read_source
    from src.analysis.study import analyse

    while True:
        source = read_source(cfg.source, Path(cfg.out))
        found = analyse(
            source,
            seed=cfg.seed,
            metrics=cfg.metrics,
            predictions_of=cfg.predictions_of,
            data_dir=Path(cfg.data_dir) if cfg.data_dir else None,
        )
        if cfg.live and sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        print(as_text(found, cfg.metrics), flush=True)
        if cfg.to:
            print(f"\nscaling: {write_scaling(found, Path(cfg.to))}", flush=True)
        if not (cfg.live and source.unfinished):
            return
        time.sleep(cfg.every_s)


def main() -> None:
    """The command; its first word may be the source alone."""
    if len(sys.argv) > 1 and "=" not in sys.argv[1] and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"source={sys.argv[1]}"
    command(ScalingConfig, "scaling", scaling)


if __name__ == "__main__":
    main()
