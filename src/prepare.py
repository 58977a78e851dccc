"""Makes a cohort from MIMIC-IV files, or any hospital's: `python -m src.prepare data.dir=MIMIC data.out=COHORT`."""

from pathlib import Path

from src.cli.command import apart, command
from src.cli.terminal import one_line, visible
from src.config.prepare import HORIZONS, PrepareConfig, Protocol


def prepare(cfg: PrepareConfig) -> None:
    """Writes a cohort to `data.out`, those of earlier horizons below it, and prints the flow of counts of each.

    Raises:
        UserError: a table is missing or damaged, no note is left, or `data.out` holds something.
    """
    from src.cohort.build import build
    from src.cohort.flow import Flow
    from src.cohort.horizon import early_horizons
    from src.cohort.prepared import read_cohort

    flow, record = build(cfg)
    for remark in flow.remarks:
        print(one_line(remark))
    print(visible("\n".join(flow.lines())))
    classes = "DRGs" if record["drg_version"] else "classes"
    for name, counts in record["splits"].items():
        print(f"{counts['notes']:>9,}  {name}: {counts['patients']:,} patients, {counts['drgs']} {classes}")
    print(f"split by {record['split']['by']}")
    if not record["split"]["keyed"]:
        print(
            "the split file's ids can be turned back into patients' numbers by trying; take it back where it was "
            f"published, and publish {cfg.data.out}/split.csv instead, whose ids are keyed"
        )
    for row in record["undecided"][:5]:
        undecided = f"{row['drg_code']} {row['description'][:80]}: {row['reason']}"
        print(f"undecided: {one_line(undecided)} ({row['rows']} rows)")
    if len(record["undecided"]) > 5:
        print(f"and {len(record['undecided']) - 5} more; all are in cohort.json")
    if cfg.protocol is Protocol.PAPER:
        from src.cohort.paper_counts import deviations

        print("\n".join(deviations(record)))
    print(f"cohort: {cfg.data.out}")
    folders = [Path(cfg.data.out) / HORIZONS / horizon.name for horizon in early_horizons(cfg.horizon)]
    early = {folder: read_cohort(folder).record for folder in folders}
    for remark in dict.fromkeys(remark for held in early.values() for remark in held["remarks"]):
        print(one_line(remark))
    for folder, held in early.items():
        print(visible("\n".join(Flow(held["flow"]).lines())))
        print(f"cohort at {folder.name}: {folder}")


def main() -> None:
    """Runs the command."""
    command(PrepareConfig, "prepare", apart(prepare))


if __name__ == "__main__":
    main()
