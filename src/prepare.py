"""Makes a cohort from MIMIC-IV files: `python -m src.prepare data.dir=MIMIC data.out=COHORT`."""

from pathlib import Path

from src.config.prepare import PrepareConfig
from src.shell.command import command


def prepare(cfg: PrepareConfig) -> None:
    """Writes `notes.parquet` and `cohort.json` to `data.out`, and prints the flow of counts.

    Raises:
        UserError: a table is missing or damaged, no note is left, or `data.out` holds something.
    """
    from src.cohort.flow import Shares, build
    from src.cohort.prepared import write_cohort

    shares = Shares(cfg.split_seed, cfg.test_share, cfg.validation_share)
    notes, flow, how = build(Path(cfg.data.dir), shares)
    splits = {
        name: {
            "notes": rows.height,
            "patients": rows["subject_id"].n_unique(),
            "drgs": rows["drg"].n_unique(),
        }
        for name in ("train", "validation", "test")
        for rows in [notes.filter(notes["split"] == name)]
    }
    record = {
        "drg_version": "v34",
        "flow": flow.steps,
        "splits": splits,
        "labels_decided_by": how,
        "words": {"mean": notes["words"].mean(), "p90": notes["words"].quantile(0.9)},
        "split": {"by": "patient", "seed": shares.seed, "test": shares.test, "validation": shares.validation},
    }
    write_cohort(Path(cfg.data.out), notes, record)
    print("\n".join(flow.lines()))
    for name, counts in splits.items():
        print(f"{counts['notes']:>9,}  {name}: {counts['patients']:,} patients, {counts['drgs']} DRGs")
    print(f"cohort: {cfg.data.out}")


def main() -> None:
    """The command."""
    command(PrepareConfig, "prepare", prepare)


if __name__ == "__main__":
    main()
