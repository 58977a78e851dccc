"""Plans and analyses a study of coders: `python -m src.study plan cases=FILE coders=[A,B,C]`, `... analyse log=FILE`.

`plan` allocates cases to coders and arms, and says what so many can show. `analyse` reads the desk's log.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command, report_user_errors
from src.cli.errors import UserError
from src.coding_study.simulated_coders import Assumptions


@dataclass
class StudyPlanConfig:
    """Allocates cases to coders who read half of theirs with assistance and half alone, and tells the study's power."""

    cases: str
    """CSV, Parquet or JSON lines with the columns `id`, `words` and `mdc`."""
    coders: list[str]
    """Names of the coders."""
    cases_each: int | None
    """Cases that each coder reads, an even number; null for all."""
    out: str
    """Folder for the desk's `allocation.csv`, the analyst's `analyst.csv`, the key between them, and the power."""
    seed: int
    """Of the allocation and of the simulation."""
    studies: int
    """Studies that are simulated for the power."""
    assume: Assumptions
    """What the power is computed for."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        problems = self.assume.problems()
        if not Path(self.cases).is_file():
            problems.append(f"cases={self.cases}: no such file; python -m src.predict writes one")
        if len(self.coders) < 3 or not all(coder.strip() == coder != "" for coder in self.coders):
            problems.append(f"coders={self.coders}: three names or more, for two give no interval; none empty or with "
                            "blanks around it")  # fmt: skip
        if twice := sorted({coder for coder in self.coders if self.coders.count(coder) > 1}):
            problems.append(f"coders: {', '.join(twice)} comes twice")
        if self.cases_each is not None and (self.cases_each < 2 or self.cases_each % 2):
            problems.append(f"cases_each={self.cases_each}: must be even, half of them for each arm, or null for all")
        if self.seed < 0:
            problems.append(f"seed={self.seed}: must be at least 0")
        if self.studies < 100:
            problems.append(f"studies={self.studies}: must be at least 100")
        return problems


@dataclass
class StudyAnalyseConfig:
    """Analyses the log of a study: seconds, accuracy, agreement, what became of proposals, and weights."""

    log: str
    """The desk's log as CSV."""
    adjudicated: str
    """CSV with the columns `case` and `drg`."""
    plan: str
    """`analyst.csv` of the plan, with masked arms, or `allocation.csv`, with open ones."""
    key: str | None
    """`key.json` of the plan, which opens `analyst.csv`; null leaves the arms masked."""
    version: str
    """MS-DRG version of the codes."""
    table5: str | None
    """CMS's Table 5 with the relative weights; null takes that of the version's year, where it is at hand."""
    out: str
    """Folder for the page, its picture and a CSV a table."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        files = {name: getattr(self, name) for name in ("log", "adjudicated", "plan", "key", "table5")}
        return [f"{name}={path}: no such file" for name, path in files.items() if path and not Path(path).is_file()]


def plan(cfg: StudyPlanConfig) -> None:
    """Writes the plan's folder, and prints what so many coders and cases can show.

    Raises:
        UserError: the cases cannot be read or are too few, or the folder holds something.
    """
    from src.cli.terminal import visible
    from src.coding_study.allocation import allocate
    from src.coding_study.power import power_table
    from src.coding_study.study_plan import ANALYST, DESK, KEY, read_cases, write_plan
    from src.display.tables import to_text

    cases, left_out = read_cases(Path(cfg.cases))
    if (needed := cfg.cases_each or 2) > cases.height // 2 * 2:
        raise UserError(f"{cfg.cases}: {cases.height:,} cases have words and MDC, {needed:,} are needed")
    allocation = allocate(cases, cfg.coders, cfg.cases_each, cfg.seed)
    power = power_table(allocation.readings(), cfg.assume, cfg.studies, cfg.seed)
    write_plan(Path(cfg.out), allocation, power, cfg.seed)
    if left_out:
        print(f"{left_out:,} cases without words or MDC were left out")
    read = allocation.rows["case"].n_unique()
    print(f"{allocation.rows.height:,} readings of {read:,} cases by {len(cfg.coders)} coders\n\n{to_text(power)}\n")
    print("assumed: " + ", ".join(f"{name} {value:g}" for name, value in vars(cfg.assume).items()))
    out = Path(cfg.out)
    print(visible(f"for the desk: {out / DESK}; for the analyst: {out / ANALYST}; to be kept from them: {out / KEY}"))


def analyse(cfg: StudyAnalyseConfig) -> None:
    """Prints the tables of a study, and writes its page.

    Raises:
        UserError: a file cannot be read, or a row of one is not of the study.
    """
    from src.cli.terminal import visible
    from src.coding_study.desk_log import read_adjudicated, read_log
    from src.coding_study.study_page import as_text, write_results
    from src.coding_study.study_plan import read_plan
    from src.coding_study.study_results import result_tables
    from src.cohort.msdrg import load_drgs
    from src.cohort.weights import weights_for
    from src.config.prepare import system_name

    drgs = load_drgs(cfg.version)
    planned = read_plan(Path(cfg.plan), Path(cfg.key) if cfg.key else None)
    weights = weights_for(cfg.version, cfg.table5)
    decisions = read_log(Path(cfg.log), planned, read_adjudicated(Path(cfg.adjudicated)))
    tables = result_tables(decisions.rows, planned, weights.of)
    facts = {
        "readings": f"{decisions.rows.height:,} of {planned.rows.height:,} planned",
        "coders": f"{decisions.rows['coder'].n_unique():,}",
        "cases": f"{decisions.rows['case'].n_unique():,}",
        "codes": system_name(cfg.version),
        "weights": weights.year if weights.of else "unknown",
    }
    remarks = [*decisions.remarks, *weights.remarks(list(drgs), cfg.version)]
    page = write_results(Path(cfg.out), planned, tables, facts, remarks)
    print(visible(as_text(tables, remarks)))
    if not planned.open:
        print("\nThe arms are masked; key= opens them and tells what became of proposals.")
    print(f"\nstudy: {page}")


def main() -> None:
    """Runs the command: its first word says which of the two."""
    first = sys.argv.pop(1) if sys.argv[1:] else ""
    if first == "plan":
        command(StudyPlanConfig, "study_plan", plan, typed="study plan")
    elif first == "analyse":
        command(StudyAnalyseConfig, "study_analyse", analyse, typed="study analyse")
    else:
        with report_user_errors():
            if first != "--help":
                raise UserError(f"{first or 'study'}: the first word is plan or analyse; --help says more")
            print(
                f"{__doc__}\nEach has its own keys: python -m src.study plan --help, python -m src.study analyse --help"
            )


if __name__ == "__main__":
    main()
