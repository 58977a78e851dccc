"""Draws in Vega-Lite what W&B's own panels cannot: a line a context with intervals, and a Pareto front.

W&B fills in `${field:NAME}` and `${string:NAME}`, and the table `wandb` with a row a run. Fields are named in encodings
and in field predicates only, never inside an expression, so that the slash in a metric's name needs no escape.
Source: https://docs.wandb.ai/models/app/features/custom-charts
"""

import hashlib
import json
from typing import Any

from src.display.catalog import COORDINATES, LABEL_SCHEMES

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"

SHORT_NUMBER = "replace(format(datum.value, '.2~s'), 'G', 'B')"
PLAIN_BELOW = f"datum.value < 1e5 ? format(datum.value, '~r') : {SHORT_NUMBER}"
"""6.6B parameters, but 1024 tokens and 0.05 hours."""

SCHEMES = f"{list(LABEL_SCHEMES)}[datum.value]"
"""A label scheme goes by its number, for a summary holds numbers only."""

# A nice scale would reach to whole powers of ten, between which three sizes share a third of the picture.
LOGARITHMIC: Spec = {
    "scale": {"type": "log", "nice": False, "padding": 12},
    "axis": {"labelExpr": PLAIN_BELOW, "grid": False, "labelOverlap": "greedy", "labelSeparation": 10},
}

INTERVAL_OPACITY, RUN_OPACITY = 0.55, 0.45


def lines() -> Spec:
    """Draws a metric against one axis, a line for each value of another: the mean over seeds, its interval, every run.

    Fields: `x`, `y`, `low`, `high`, `line` (colour), `labels` (dashes), and `other`, an axis that parts lines too.
    The interval is the mean of the runs' own, of 95 % by patient. Runs without a base, where `x` or `line` is 0, are
    left out.
    """
    x = {**_field("x"), "title": "${string:x_title}", **LOGARITHMIC}
    # Means are taken over all rows that share every encoded field: what is not named would be averaged away.
    detail = [_field(field, "nominal") for field in ("other", "labels")]
    parts: Spec = {"color": _colour("line", "line_title"), "detail": detail}
    legend = {"labelExpr": SCHEMES, "symbolType": "stroke", "symbolStrokeColor": "black", "symbolSize": 300}
    dashes = {"strokeDash": {**_field("labels", "nominal"), "title": "labels", "legend": legend}}
    value = {"title": "${string:y_title}", "scale": {"zero": False}}
    mean = {**_field("y"), "aggregate": "mean", **value}
    low, high = ({**_field(end), "aggregate": "mean"} for end in ("low", "high"))
    interval = {"x": x, "y": {**low, **value}, "y2": high, **parts}
    return {
        **_frame(_above_nought("x"), _above_nought("line"), _valid("y")),
        "layer": [
            {"mark": {"type": "line", "point": True}, "encoding": {"x": x, "y": mean, **parts, **dashes}},
            {"mark": {"type": "rule", "opacity": INTERVAL_OPACITY}, "encoding": interval},
            {
                "mark": {"type": "point", "size": 18, "opacity": RUN_OPACITY},
                "encoding": {"x": x, "y": {**_field("y"), **value}, **parts, "tooltip": _tooltip("x", "y", "line")},
            },
        ],
    }


def front() -> Spec:
    """Draws a metric against a cost: every cell's mean over its seeds with its interval, and the means' Pareto front.

    Fields: `cost`, `y`, `low`, `high`, `params` (colour), `max_len` (shape), and `lora_r` and `labels`, which part
    cells too. The front is the best mean so far as the cost grows. Runs without a base are left out.
    """
    cell = [axis.key for axis in COORDINATES]
    means = [{"op": "mean", "field": _name(field), "as": field} for field in ("cost", "y", "low", "high")]
    mean = {"aggregate": means, "groupby": [_name(field) for field in cell]}
    best = {"op": "max", "field": "y", "as": "best"}
    cost = {"field": "cost", "type": "quantitative", "title": "${string:x_title}", **LOGARITHMIC}
    y = {"type": "quantitative", "title": "${string:y_title}", "scale": {"zero": False}}
    points = {
        "x": cost,
        "y": {"field": "y", **y},
        "color": _colour("params", "params_title"),
        "shape": {**_field("max_len", "ordinal"), "title": "${string:max_len_title}"},
        "tooltip": [*_tooltip(*cell), *({"field": field, "type": "quantitative"} for field in ("y", "cost"))],
    }
    return {
        **_frame(_above_nought("cost"), _above_nought("params"), _valid("y"), mean),
        "layer": [
            {
                # All rows up to this one, from cheap to dear: the best so far.
                "transform": [{"window": [best], "sort": [{"field": "cost"}], "frame": [None, 0]}],
                "mark": {"type": "line", "interpolate": "step-after", "color": "black", "strokeDash": [5, 3]},
                "encoding": {"x": cost, "y": {"field": "best", **y}},
            },
            {
                "mark": {"type": "rule", "opacity": INTERVAL_OPACITY},
                "encoding": {"x": cost, "y": {"field": "low", **y}, "y2": {"field": "high"}, "color": points["color"]},
            },
            {"mark": {"type": "point", "filled": True, "size": 70}, "encoding": points},
        ],
    }


CHARTS = {"lines": lines, "front": front}


def chart_name(kind: str) -> str:
    """Names a chart on the server after a hash of what it draws, for the server never changes a chart.

    >>> chart_name("lines").startswith("drg-lines-")
    True
    """
    return f"drg-{kind}-{hashlib.sha256(json.dumps(CHARTS[kind](), sort_keys=True).encode()).hexdigest()[:8]}"


def _frame(*filters: Spec) -> Spec:
    return {
        "$schema": SCHEMA,
        "data": {"name": "wandb"},
        "title": "${string:title}",
        "transform": list(filters),
    }


def _name(field: str) -> str:
    return f"${{field:{field}}}"


def _field(field: str, kind: str = "quantitative") -> Spec:
    return {"field": _name(field), "type": kind}


def _colour(field: str, title: str) -> Spec:
    return {
        **_field(field, "ordinal"),
        "title": f"${{string:{title}}}",
        "scale": {"scheme": "viridis"},
        "legend": {"labelExpr": PLAIN_BELOW},
    }


def _tooltip(*fields: str) -> list[Spec]:
    return [_field(field, "nominal") for field in fields]


def _above_nought(field: str) -> Spec:
    return {"filter": {"field": _name(field), "gt": 0}}


def _valid(field: str) -> Spec:
    return {"filter": {"field": _name(field), "valid": True}}
