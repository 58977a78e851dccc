"""Decides the label of each note: from MIMIC-IV's DRG rows, or from a column of a hospital's own file."""

import re
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.cohort.codes import apart, bare, too_long
from src.cohort.doubts import alike, are_small_numbers, is_a_class_a_note, kept, shown, why_texts, with_several
from src.cohort.missing import WORDS
from src.cohort.msdrg import VERSIONS, load_drgs
from src.cohort.spelling import words
from src.cohort.titles import Match, resolve
from src.config.prepare import LabelKind


@dataclass(frozen=True)
class Labels:
    """Says what each label text stands for."""

    rows: pl.DataFrame
    """`hadm_id` and `drg` of every row of type HCFA or APR (MIMIC-IV), or `label` and `drg` of every label text; `drg`
    null where it was not decided."""
    rules: dict[str, int]
    """How often each rule decided."""
    undecided: list[dict[str, Any]]
    """Codes and descriptions that were not decided, with the reason, the number of rows, and MIMIC-IV's patients."""
    version: str = "v34"
    """The MS-DRG version of the DRGs, or `apr`."""
    remarks: list[str] = field(default_factory=list)
    """How the labels were understood, a sentence each."""
    titles: dict[str, str] = field(default_factory=dict)
    """Of APR-DRGs the title of each code; those of MS-DRGs are in their version's table."""
    mortality: pl.DataFrame | None = None
    """Of APR-DRGs each `hadm_id` with its risk of mortality."""


def mimic_labels(table: pl.DataFrame, version: str = "v34", *, title_first: bool = False) -> Labels:
    """Decides the DRG of `version` of each row of type HCFA of `hosp/drgcodes`.

    With `title_first` a description that names a DRG decides whatever its code says, as in the paper.
    """
    named = pl.col("drg_code", "description").fill_null("").str.strip_chars()
    hcfa = table.filter(pl.col("drg_type").str.strip_chars() == "HCFA").with_columns(named)
    counts = pl.len().alias("rows"), pl.col("subject_id").n_unique().alias("patients")
    pairs = hcfa.group_by("drg_code", "description").agg(*counts).sort("drg_code", "description")
    matches = []
    for code, description, *_ in pairs.iter_rows():
        titled = resolve("", description, version) if title_first else None
        matches.append(titled if titled and titled.drg else resolve(code, description, version))
    decided = pairs.with_columns(
        drg=pl.Series([match.drg.code if match.drg else None for match in matches], dtype=pl.String),
        reason=pl.Series([match.reason for match in matches], dtype=pl.String),
    )
    rows = hcfa.join(decided.select("drg_code", "description", "drg"), on=["drg_code", "description"], how="left")
    open_ = decided.filter(pl.col("drg").is_null()).sort(
        "rows", "drg_code", "description", descending=[True, False, False]
    )
    undecided = open_.select("drg_code", "description", "reason", "rows", "patients").to_dicts()
    return Labels(rows.select("hadm_id", "drg"), _counted(decided), undecided, version)


def own_labels(labels: pl.Series, kind: LabelKind, column: str, version: str = "v34") -> Labels:
    """Decides what the label texts of a hospital's own file stand for: codes, titles, or classes of their own.

    Raises:
        UserError: the labels are texts, ids or several in a cell; with `kind` auto, some but not all texts are
            MS-DRGs, another version has more of them, or they are small numbers; with `drg`, none is an MS-DRG.
    """
    texts = labels.drop_nulls().value_counts(name="rows").rename({labels.name: "label"}).sort("label")
    rows: dict[str, int] = dict(texts.iter_rows())
    _refuse_texts(rows, kind, column, version)
    plain = kind is LabelKind.ANY
    matches = dict.fromkeys(rows, Match(None, "own label")) if plain else _matches(list(rows), version)
    named = [name for name in rows if matches[name].drg]
    if kind is LabelKind.AUTO:
        _refuse_doubtful(matches, column, version)
    if kind is LabelKind.DRG and not named:
        raise UserError(
            f"data.label={column}: no label is an MS-DRG code or title{_of_another(matches, version)}; "
            "write data.labels=any"
        )
    plain = plain or (kind is LabelKind.AUTO and len(named) < len(rows))
    drgs = [name if plain else drg.code if (drg := matches[name].drg) else None for name in rows]
    decided = texts.with_columns(
        drg=pl.Series(drgs, dtype=pl.String),
        reason=pl.Series(["own label" if plain else matches[name].reason for name in rows], dtype=pl.String),
    )
    undecided = [
        {"drg_code": "", "description": kept(label), "reason": reason, "rows": count}
        for label, count, drg, reason in decided.iter_rows()
        if drg is None
    ]
    read_aloud = _as_classes if plain else _as_drgs
    remarks = read_aloud(rows, matches, column, version) if rows else []
    return Labels(decided.select("label", "drg"), _counted(decided), undecided, version, remarks)


def _refuse_texts(rows: dict[str, int], kind: LabelKind, column: str, version: str) -> None:
    """Refuses a column of texts or of ids, which may hold what no record may.

    Raises:
        UserError: it is one.
    """
    where, swapped = f"data.label={column}", "are data.text and data.label swapped? Name the column of labels"
    if kind is not LabelKind.DRG and (reason := why_texts(rows)) and (kind is LabelKind.AUTO or "characters" in reason):
        raise UserError(f"{where}: {reason}: it is a column of texts; {swapped}")
    if kind is LabelKind.AUTO and is_a_class_a_note(rows):
        some = list(rows)[:: max(1, len(rows) // 200)]
        if 2 * sum(_drg(name, version).drg is not None for name in some) <= len(some):
            _refuse_several(with_several(list(rows)), len(rows), where)
            raise UserError(
                f"{where}: {len(rows):,} different labels of {sum(rows.values()):,} notes, nearly a class a note; is "
                f"it a column of ids or texts, or {swapped}, or write data.labels=any if each is a class"
            )


def _refuse_several(several: list[str], count: int, where: str) -> None:
    if several:
        raise UserError(
            f"{where}: {len(several):,} of {count:,} labels hold several, such as {shown(several[:1])!r}, and a note "
            "has one; keep the main one of each, or write data.labels=any to make each combination a class"
        )


def _refuse_doubtful(matches: dict[str, Match], column: str, version: str) -> None:
    """Asks, by a refusal, where labels can be read in two ways.

    Raises:
        UserError: they can.
    """
    undecided = [name for name in matches if not matches[name].drg]
    named, where = len(matches) - len(undecided), f"data.label={column}"
    _refuse_several([name for name in with_several(list(matches)) if not matches[name].drg], len(matches), where)
    odd = next((name for name in undecided if name.lower() in WORDS), "".join(undecided[:1]))
    missing = f"data.missing=[{odd}] if {odd!r} stands for a missing label, " if odd.lower() in WORDS else ""
    numbers = [name for name in matches if apart(name)[0].isdecimal()]
    small = 2 * len(numbers) > len(matches) and are_small_numbers(numbers)
    if small and 2 * named > len(matches):
        drgs = [f"{int(drg.code)}: {drg.title}" for name in numbers if (drg := matches[name].drg)]
        names = sorted(numbers, key=lambda name: int(apart(name)[0]))
        raise UserError(
            f"{where}: the labels {shown(names, 5)} may be classes, scores or ages, or {named} of {len(matches)} may "
            f"be MS-DRGs of {version} ({shown(drgs, 2)}); write {missing}data.labels=any for classes of their own, or "
            "data.labels=drg for MS-DRGs"
        )
    better = "" if small else _of_another(matches, version)
    if better or (named and undecided and 2 * named > len(matches)):
        raise UserError(
            f"{where}: {named} of {len(matches)} labels are MS-DRGs, but not {shown([odd])!r} "
            f"({matches[odd].reason}){better}; write {missing}data.labels=drg to leave such rows out, or "
            "data.labels=any"
        )


def _of_another(matches: dict[str, Match], version: str) -> str:
    """Says that another version has more of the labels: all, or twice as many of those that this one lacks."""
    hopeless = re.compile("no title|.*APR-DRG")
    open_ = [name for name in matches if not matches[name].drg and not hopeless.match(matches[name].reason)]
    more = {name: sum(_drg(label, name).drg is not None for label in open_) for name in VERSIONS if name != version}
    best = max(more.values(), default=0)
    named = len(matches) - sum(match.drg is None for match in matches.values())
    if not best or (named + best < len(matches) and 2 * best < len(open_)) or 2 * (named + best) <= len(matches):
        return ""
    first, *rest = [name for name, count in more.items() if count == best]
    also = f" (so have {', '.join(rest)})" if rest else ""
    share = f"all {len(matches)}" if named + best == len(matches) else f"{named + best} of {len(matches)}"
    return f"; version={first} has {share}{also}"


def _as_drgs(rows: dict[str, int], matches: dict[str, Match], column: str, version: str) -> list[str]:
    drgs = {drg.code: drg.title for match in matches.values() if (drg := match.drg)}
    rules = " and ".join(sorted({match.reason for match in matches.values() if match.drg}))
    samples = shown([f"{int(code)}: {title}" for code, title in sorted(drgs.items())], 2)
    better = _of_another(matches, version)
    return [
        f"labels in {column}: {sum(rows.values()):,} notes, {len(drgs)} MS-DRGs of {version} by {rules} ({samples}); "
        f"data.labels=any would make them classes{better}"
    ]


def _as_classes(rows: dict[str, int], matches: dict[str, Match], column: str, version: str) -> list[str]:
    named = sum(match.drg is not None for match in matches.values())
    drgs = f"; {named} of them may be MS-DRGs of {version}, and data.labels=drg would keep those only" if named else ""
    remarks = [f"labels in {column}: {sum(rows.values()):,} notes, {len(rows)} classes ({shown(list(rows), 5)}){drgs}"]
    if apr := next((reason for name in rows if (reason := too_long(name))), None):
        remarks.append(f"labels in {column}: {apr}")
    if same := alike(list(rows)):
        remarks.append(
            f"labels in {column}: {shown(same)} differ in capitals, blanks or signs only, and are classes apart"
        )
    return remarks


def _matches(names: list[str], version: str) -> dict[str, Match]:
    """Finds the DRG of each label. Beside APR-DRGs with their severity, `0441` is one too."""
    aprs = any(too_long(name) for name in names)
    return {
        name: Match(None, f"{bare(name)} looks like an APR-DRG with its severity")
        if aprs and re.fullmatch("0[0-9]{3}", bare(name))
        else _drg(name, version)
        for name in names
    }


def _drg(label: str, version: str) -> Match:
    """Finds the DRG of a code, of a title, or of both as CMS writes them: `291 - HEART FAILURE & SHOCK W MCC`."""
    if reason := too_long(label):
        return Match(None, reason)
    code, title = apart(label)
    if not title:
        drg = load_drgs(version).get(code)
        return Match(drg, "code" if drg else f"{code} is no code of {version}")
    match = resolve(code, title, version)
    # Two letters of a class may abbreviate the one word of a title.
    guessed = match.drg and not code and len(words(title)) < 2 and match.reason != "title"
    return Match(None, "too short for a title") if guessed else match


def _counted(decided: pl.DataFrame) -> dict[str, int]:
    kinds = pl.when(pl.col("drg").is_null()).then(pl.lit("not decided")).otherwise("reason")
    counts = decided.group_by(kinds.alias("kind")).agg(pl.col("rows").sum()).sort("kind")
    return {str(kind): int(rows) for kind, rows in counts.iter_rows()}
