"""The report of a cohort as one page that needs nothing beside it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.cohort.disclosure import MIN_GROUP_PATIENTS
from src.cohort.prepared import RECORD
from src.display.html import escaped
from src.reporting.cohort_figures import flow_picture, label_picture, length_picture, svg
from src.reporting.cohort_report import figure, kind_of

UNDECIDED_SHOWN = 200
"""Rows of the longest table."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
figure { margin: 0; overflow-x: auto; }
svg { max-width: 100%; min-width: 36rem; height: auto; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #e3e5e8; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.less { color: #5f6b76; }
"""


def page(numbers: Mapping[str, Any], words: NDArray[Any], tokens: NDArray[Any], tokenizer: str) -> str:
    """The whole page.

    Args:
        numbers: what `measure` gives.
        words: of each note.
        tokens: of each note before it is cut.
        tokenizer: whose tokens they are, in words.
    """
    version = f"MS-DRG {numbers['drg_version']}" if numbers["drg_version"] else "classes of a hospital's own"
    compared = table(("", "here", "paper"), ([row[name] for name in ("what", "here", "paper")] for row in
                                             numbers["beside_the_paper"]))  # fmt: skip
    parts = [
        "<h1>Cohort report</h1>",
        f'<p class="less">cohort {_safe(numbers["cohort"])}, {_safe(version)}. '
        f"No text of any note, no class of fewer than {MIN_GROUP_PATIENTS} patients; "
        "classes of a hospital's own are numbered.</p>",
        *_flow(numbers),
        *_splits(numbers),
        *_labels(numbers),
        *_lengths(numbers, words, tokens, tokenizer),
        *_undecided(numbers["undecided"] if numbers["drg_version"] else None),
        *(["<h2>Beside the paper</h2>", compared] if numbers["beside_the_paper"] else []),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Cohort report</title>'
    head += f"<style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _figure(picture: Any, described: str) -> str:
    """A picture that a narrow screen moves sideways instead of making its words unreadable."""
    return f"<figure>{svg(picture, described)}</figure>"


def _flow(numbers: Mapping[str, Any]) -> list[str]:
    picture = flow_picture(numbers["flow"], numbers["splits"])
    return ["<h2>From discharge summaries to splits</h2>", _figure(picture, "flow of counts")]


def _splits(numbers: Mapping[str, Any]) -> list[str]:
    rows = ([name, each["notes"], each["patients"], each["drgs"]] for name, each in numbers["splits"].items())
    shared = ", ".join(f"{count:,} {what}" for what, count in numbers["in_two_splits"].items())
    unseen = numbers["labels"]["test_notes_of_drgs_without_a_training_note"]
    return [
        "<h2>Splits</h2>",
        table(("split", "notes", "patients", kind_of(numbers)), rows),
        f"<p>In more than one split: {shared}. Test notes whose label has no training note: {unseen:,}.</p>",
    ]


def _labels(numbers: Mapping[str, Any]) -> list[str]:
    labels = numbers["labels"]
    kind = kind_of(numbers)
    bases = f", and {labels['base_drgs']} of its {labels['base_drgs_of_the_version']} base DRGs"
    whose = "version's" if labels["base_drgs"] else "cohort's"
    decided = sorted(numbers["labels_decided_by"].items(), key=lambda pair: -pair[1])
    return [
        "<h2>Labels</h2>",
        f"<p>{labels['drgs']} of the {whose} {labels['drgs_of_the_version']} {kind} have a note"
        f"{bases if labels['base_drgs'] else ''}. "
        f"The ten commonest {kind} hold {labels['share_of_the_ten_commonest']:.1%} of the notes.</p>",
        _figure(label_picture(labels["notes_by_rank"], labels["drgs_by_notes"], kind), "notes by label"),
        table(("label decided by", "rows"), decided) if decided else "",
    ]


def _lengths(numbers: Mapping[str, Any], words: NDArray[Any], tokens: NDArray[Any], tokenizer: str) -> list[str]:
    names = ("mean", "p10", "p50", "p90", "p99", "longest")
    spreads = ([unit, *(round(numbers[unit][name]) for name in names)] for unit in ("words", "tokens"))
    cuts = numbers["tokens"]["share_cut"]
    return [
        "<h2>Lengths</h2>",
        _figure(length_picture(words, tokens, cuts), "lengths of notes"),
        table(("", *names), spreads),
        table(("max_len", "notes cut"), ([length, f"{share:.1%}"] for length, share in cuts.items())),
        f'<p class="less">Tokens of {_safe(tokenizer)}.</p>',
    ]


def _undecided(undecided: Mapping[str, Any] | None) -> list[str]:
    if undecided is None:
        return []
    most = sorted(undecided["listed"], key=lambda row: -row["rows"])
    listed = ([row["drg_code"], row["description"], row["reason"], row["rows"]] for row in most[:UNDECIDED_SHOWN])
    return [
        "<h2>Descriptions that name no DRG for certain</h2>",
        f"<p>{undecided['descriptions']:,} on {undecided['rows']:,} rows, all in {RECORD}; listed are those of "
        f"MIMIC-IV that {MIN_GROUP_PATIENTS} patients or more have.</p>",
        table(("code", "description", "reason", "rows"), listed) if most else "",
    ]


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table; numbers stand right, and every text is escaped.

    >>> table(["a", "b"], [["<x>", 1200]])
    '<table><tr><th>a</th><th class="n">b</th></tr><tr><td>&lt;x&gt;</td><td class="n">1,200</td></tr></table>'
    """
    body = [list(row) for row in rows]
    right = [any(_is_number(row[at]) for row in body) for at in range(len(heads))]
    lines = [_row("th", heads, right), *(_row("td", row, right) for row in body)]
    return f"<table>{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[Any], right: Sequence[bool]) -> str:
    marked = (f'<{tag} class="n">' if numeric else f"<{tag}>" for numeric in right)
    joined = "".join(f"{mark}{_safe(figure(cell))}</{tag}>" for mark, cell in zip(marked, cells, strict=True))
    return f"<tr>{joined}</tr>"


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float, np.number)) or str(cell).endswith("%")


def _safe(text: object) -> str:
    return escaped(text)
