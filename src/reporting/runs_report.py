"""Composes a report on finished runs, and writes its folder whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.files import exchanging_folder
from src.cli.json_files import read_json
from src.config.prepare import system_name
from src.display.catalog import HORIZON, MAIN, axis_of
from src.display.figure_style import pdf, settings, settle, svg
from src.display.published import PUBLISHED_VERSION
from src.display.tables import to_csv, to_latex, to_markdown
from src.reporting.against_section import against_drawing, against_table
from src.reporting.cell_figures import cell_drawings
from src.reporting.cohort_section import cohort_drawing
from src.reporting.curve_figures import curve_drawings
from src.reporting.device_hours import costs_of, unit_of
from src.reporting.findings import best_cell, summarise_findings
from src.reporting.horizon_section import horizon_drawings, horizon_sentences, horizon_tables
from src.reporting.reproduce import codes_of, dates_of, training_commands
from src.reporting.run_errors import outdated, read_errors
from src.reporting.run_tables import report_tables
from src.reporting.runs_page import FIGURES, TABLES, Report, page
from src.reporting.scaling_figures import scaling_drawings
from src.reporting.series import main_ground
from src.runs.finished import Run
from src.scaling_analysis.against import Against
from src.scaling_analysis.horizons import Horizons
from src.scaling_analysis.result import Scaling

PAGE, NUMBERS = "report.html", "report.json"


def compose(
    source: str,
    runs: Sequence[Run],
    scaling: Scaling,
    data_dir: Path | None = None,
    against: Against | None = None,
    horizons: Horizons | None = None,
) -> Report:
    """Composes the report on some runs.

    Args:
        source: where they are from, as typed.
        runs: the finished ones.
        scaling: what `src.scaling_analysis.analysis.analyse` makes of them.
        data_dir: where the prepared cohort lies now; None takes the folder that the records name.
        against: the cells beside one of them; None for no such table.
        horizons: the horizons of each system; None where no system has several.

    Raises:
        UserError: a file of a run's evaluation is damaged.
    """
    by_name = {run.name: run for run in runs}
    costs = costs_of(scaling, by_name)
    hours = {cell: cost.hours_a_run for cell, cost in costs.items()}
    ground = scaling.grounds[main_ground(scaling)]
    with settings():
        drawings = scaling_drawings(scaling) + cell_drawings(scaling, hours, unit_of(list(costs.values())))
        drawings += curve_drawings(scaling, by_name)
        drawings += against_drawing(scaling, against) if against else []
        drawings += horizon_drawings(scaling, horizons) if horizons else []
        best_first = _best_first(scaling, by_name)
        errors = read_errors(best_first)
    return Report(
        source=source,
        facts=_facts(source, runs, scaling),
        said=summarise_findings(scaling, costs) + (horizon_sentences(scaling, horizons) if horizons else []),
        notes=[*scaling.notes, *_beside_published(runs), *(horizons.notes if horizons else [])],
        tables=[
            *report_tables(scaling, costs),
            *([against_table(scaling, against)] if against else []),
            *(horizon_tables(scaling, horizons) if horizons else []),
        ],
        drawings=drawings,
        errors=errors,
        outdated=outdated(best_first),
        cohort=cohort_drawing(runs, ground.cohort, data_dir),
        commands=training_commands([by_name[name] for cell in scaling.cells for name in cell.runs]),
    )


def _best_first(scaling: Scaling, runs: Mapping[str, Run]) -> list[Run]:
    """Sorts the runs of the best cell first, then the others by their accuracy on validation."""
    best = best_cell(scaling, MAIN)
    first = scaling.cells[best].runs if best is not None else ()
    return sorted(
        runs.values(), key=lambda run: (run.name not in first, -(run.metrics.get("val/accuracy") or 0), run.name)
    )


def _facts(source: str, runs: Sequence[Run], scaling: Scaling) -> dict[str, str]:
    unfinished = f"; {len(scaling.missing)} not finished" if scaling.missing else ""
    facts = {
        "Source": source,
        "Runs": f"{len(runs):,} finished in {len(scaling.cells):,} cells{unfinished} (a cell: all seeds of a setting)",
    }
    for number, ground in enumerate(scaling.grounds, start=1):
        name = "Cohort" if len(scaling.grounds) == 1 else f"Cohort {number}"
        labels = [f"{system_name(version)}, " for version in _versions(runs, ground.cohort)]
        cohort = f"{ground.cohort}, {''.join(labels)}protocol {ground.protocol or 'not recorded'}"
        facts[name] = (
            f"{cohort}; {ground.train:,} training notes, {ground.test:,} test notes{_drgs(runs, ground.cohort)}"
        )
    facts["Systems"] = ", ".join(dict.fromkeys(str(cell.axes["model"]) for cell in scaling.cells))
    horizons = [HORIZON] if len({cell.axes.get(HORIZON) for cell in scaling.cells}) > 1 else []
    facts["Varied"] = ", ".join(axis_of(axis).name for axis in dict.fromkeys([*scaling.varied, *horizons]))
    dates, codes = dates_of(runs), codes_of(runs)
    if dates:
        facts["Trained on"] = f"{dates} (UTC)"
    if codes:
        facts["Code"] = "; ".join(codes)
    facts["Libraries"] = _libraries(runs)
    return {name: fact for name, fact in facts.items() if fact}


def _versions(runs: Sequence[Run], cohort: str | None = None) -> list[str]:
    """Lists the versions of the labels, as records name them, of a cohort or of all."""
    named = {run.record.drg_version for run in runs if cohort in (None, run.record.cohort)}
    return sorted(version for version in named if version)


def _beside_published(runs: Sequence[Run]) -> list[str]:
    """Says that published results are of other labels, where they are."""
    versions = [system_name(version) for version in _versions(runs) if version != PUBLISHED_VERSION]
    others = f"what was published is of {system_name(PUBLISHED_VERSION)}, runs here are of {' and '.join(versions)}"
    return (
        [f"{others}: other DRGs, so that differences from the published are not of systems alone"] if versions else []
    )


def _drgs(runs: Sequence[Run], cohort: str) -> str:
    counts = {run.record.counts.get("test_drgs") for run in runs if run.record.cohort == cohort}
    recorded = sorted(count for count in counts if count)
    return f" of {recorded[-1]} DRGs" if recorded else ""


def _libraries(runs: Sequence[Run]) -> str:
    by_library: dict[str, set[str]] = {}
    for run in runs:
        for name in ("python", "torch", "transformers", "peft"):
            version = run.record.versions.get(name)
            if version:
                by_library.setdefault(name, set()).add(str(version))
    return ", ".join(f"{name} {' and '.join(sorted(versions))}" for name, versions in by_library.items())


def write_report(report: Report, folder: Path) -> None:
    """Writes `report.html`, `report.json`, `tables/` and `figures/`; a report that is there is replaced.

    Raises:
        UserError: the folder holds something that no report wrote.
        OSError: it cannot be written.
    """
    files = rendered(report)
    with exchanging_folder(folder, written_by_us, "name another folder with to=DIR") as tmp:
        for part in (FIGURES, TABLES):
            (tmp / part).mkdir()
        for name, content in files.items():
            (tmp / name).write_bytes(content)


def rendered(report: Report) -> dict[str, bytes]:
    """Renders every file of a report, by its place in the folder; the same report gives the same bytes."""
    files: dict[str, bytes] = {}
    for drawing in report.every_drawing():
        settle(drawing)
    svgs = {drawing.name: svg(drawing) for drawing in report.every_drawing()}
    for drawing in report.every_drawing():
        files[f"{FIGURES}/{drawing.name}.svg"] = svgs[drawing.name].encode()
        files[f"{FIGURES}/{drawing.name}.pdf"] = pdf(drawing)
    for table in report.every_table():
        for end, write in (("csv", to_csv), ("md", to_markdown), ("tex", to_latex)):
            files[f"{TABLES}/{table.name}.{end}"] = write(table).encode()
    files[PAGE] = page(report, svgs).encode()
    files[NUMBERS] = (json.dumps(_numbers(report, sorted(files)), indent=1) + "\n").encode()
    return files


def _numbers(report: Report, files: Sequence[str]) -> dict[str, Any]:
    return {
        "source": report.source,
        "facts": dict(report.facts),
        "what_came_out": list(report.said),
        "notes": list(report.notes),
        "figures": {
            figure.name: {"title": figure.title, "caption": figure.caption} for figure in report.every_drawing()
        },
        "tables": {table.name: table.title for table in report.every_table()},
        "commands": [command.words for command in report.commands],
        "files": [*files, NUMBERS],
    }


def written_by_us(folder: Path) -> bool:
    """Says whether a folder is a report and holds nothing else."""
    try:
        listed = set(read_json(folder / NUMBERS, {"files": list[str]})["files"])
    except (FileNotFoundError, UserError):
        return False
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} <= listed
