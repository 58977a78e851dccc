"""Test metrics of several runs are shown side by side, as text."""

from collections.abc import Mapping

from src.display.catalog import View, metrics_of


def table(runs: Mapping[str, Mapping[str, float | None]], noun: str = "run", apr: bool = False) -> str:
    """Lays out a row a run, or another `noun`, and a column a metric; a metric that a run lacks is a dash.

    With `apr` the runs are of APR-DRGs.

    >>> print(table({"majority": {"test/accuracy": 0.05}}))
    run       top-1
    majority  0.050
    """
    names = {key: metric.brief or metric.name for key, metric in metrics_of(View.TABLE, apr).items()}
    shown = {key: name for key, name in names.items() if any(row.get(key) is not None for row in runs.values())}
    name_width = max([len(noun), *map(len, runs)])
    widths = [max(5, len(name)) for name in shown.values()]
    head = [
        f"{noun:<{name_width}}",
        *(f"{name:>{width}}" for name, width in zip(shown.values(), widths, strict=True)),
    ]
    lines = ["  ".join(head)]
    for run, row in runs.items():
        texts = ["-" if (value := row.get(key)) is None else f"{value:.3f}" for key in shown]
        cells = [text.rjust(width) for text, width in zip(texts, widths, strict=True)]
        lines.append("  ".join([f"{run:<{name_width}}", *cells]))
    return "\n".join(lines)
