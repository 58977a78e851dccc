"""Writes the cohort of each horizon before discharge: the same admissions, labels and splits, other texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from src.cli.errors import UserError
from src.cli.progress import track
from src.cohort.admissions import ADMISSIONS, LATER, known_at, read_admissions
from src.cohort.chart_tables import Tables
from src.cohort.charted import Charted, add_admission_notes, add_emergency, add_moves, add_reports, add_triage
from src.cohort.flow import Flow
from src.cohort.horizon import ADMISSION_NOTE, KINDS, REPORT, Horizon
from src.cohort.prepared import EXCLUDED, SCHEMA, SPLIT, write_notes, write_record
from src.cohort.read_notes import count_words
from src.cohort.sections import WHOLE_NOTE, Sections, headings_by_section
from src.cohort.sources import mimic_source
from src.cohort.split import Split, counts_by_split, write_split
from src.cohort.stays import read_stays
from src.cohort.text_spool import TextSpool
from src.config.prepare import HORIZONS, PrepareData
from src.display.spreadsheet import write_frame

NOTES_AT_ONCE = 1_000


class HorizonError(RuntimeError):
    """A horizon error says that a text would have shown what was not known at its horizon; nothing is written then."""


@dataclass(frozen=True)
class Origin:
    """Holds the cohort of discharge, from which those of horizons are made."""

    data: PrepareData
    tables: Tables
    rows: pl.DataFrame
    """Its notes: `row`, `note`, their ids, `drg` and `split`."""
    key: bytes
    """Of the ids of its split."""
    record: dict[str, Any]
    """What its `cohort.json` holds."""


def write_horizons(folder: Path, horizons: Sequence[Horizon], origin: Origin) -> None:
    """Writes the cohort of each horizon to its folder below `folder`, that of discharge.

    Raises:
        UserError: a table is damaged, or a split holds no note at a horizon though it does at discharge.
        HorizonError: a text holds what was charted after its horizon.
    """
    stays, visits = read_stays(origin.tables, origin.rows)
    ends = stays.with_columns(horizon.end.alias(horizon.name) for horizon in horizons)
    last = pl.max_horizontal(horizon.name for horizon in horizons)
    own = ends.with_columns(last=last).drop_nulls("start").join(origin.rows.select("hadm_id"), "hadm_id", how="semi")
    path = folder / ".charted"
    with TextSpool(path) as spool:
        charted = Charted(own, spool)
        remarks = _gather(charted, horizons, origin, stays, visits)
        pieces = charted.pieces()
        for horizon in horizons:
            times = ends.select("hadm_id", "admittime", "dischtime", "deathtime", end=horizon.name)
            shown = _shown(horizon, times, pieces, spool)
            flow = Flow(remarks=list(remarks) if REPORT in horizon.kinds else [])
            rows = origin.rows.join(
                times.join(shown.spans(), "hadm_id", how="left"), "hadm_id", how="left", maintain_order="left"
            )
            _write(folder, horizon, origin, _in_the_house(rows, horizon, flow), flow, shown)
    path.unlink()


def _gather(
    charted: Charted, horizons: Sequence[Horizon], origin: Origin, stays: pl.DataFrame, visits: pl.DataFrame
) -> list[str]:
    """Reads what the horizons show, each table once; returns remarks on the reports."""
    kinds, data, remarks = {kind for horizon in horizons for kind in horizon.kinds}, origin.data, []
    add_triage(charted, origin.tables, visits)
    if ADMISSION_NOTE in kinds:
        source = mimic_source(Path(str(data.dir)), Path(data.notes) if data.notes else None, data.encoding)
        add_admission_notes(charted, source, origin.rows, stays, Sections(headings_by_section(data.headings)))
    if REPORT in kinds:
        add_emergency(charted, origin.tables, visits)
        add_moves(charted, origin.tables, stays)
        remarks = add_reports(charted, origin.tables, stays, data.encoding)
    return remarks


@dataclass(frozen=True, eq=False)
class _Shown:
    """Holds the pieces that a horizon shows, in the order of their admissions, and reads their texts."""

    pieces: pl.DataFrame
    """Of all horizons; a copy of what one shows would be 100 MB of MIMIC-IV."""
    shown: pl.Series
    """The places of its own among them."""
    spool: TextSpool

    def spans(self) -> pl.DataFrame:
        """Gives each admission that has pieces its `first` and their `count`; lists of them took the memory thrice."""
        runs = self.pieces["hadm_id"].gather(self.shown).rle().struct.unnest()
        return runs.select(hadm_id="value", count="len", first=pl.col("len").cum_sum() - pl.col("len"))

    def read(self, spans: pl.DataFrame) -> Iterator[list[str]]:
        """Yields the texts of the pieces of each of `spans`, each with its stamp."""
        wanted = spans.select(pl.int_ranges("first", pl.col("first") + pl.col("count"))).to_series().explode()
        some = self.pieces[self.shown.gather(wanted)]
        texts = iter(self.spool.read(some["offset"].to_list(), some["length"].to_list()))
        return (list(islice(texts, count)) for count in spans["count"])


def _shown(horizon: Horizon, times: pl.DataFrame, pieces: pl.DataFrame, spool: TextSpool) -> _Shown:
    """Picks the pieces that were known at the `end` of each admission in `times`."""
    ends = pieces.select("hadm_id").join(times.select("hadm_id", "end"), "hadm_id", how="left", maintain_order="left")
    of_kind = pl.col("kind").is_in([KINDS.index(kind) for kind in horizon.kinds])
    return _Shown(pieces, pieces.select(of_kind & (pl.col("known") <= ends["end"])).to_series().arg_true(), spool)


def _write(folder: Path, horizon: Horizon, origin: Origin, rows: pl.DataFrame, flow: Flow, shown: _Shown) -> None:
    """Writes one horizon's folder below `folder`, of the notes that are left for it."""
    splits = counts_by_split(rows)
    for name in Split:
        if origin.record["splits"][name]["notes"] and not splits[name]["notes"]:
            counts = "\n".join(flow.lines())
            raise UserError(
                f"horizon={horizon.name}: no note is left for {name}; leave this horizon out, or prepare more notes; "
                f"the counts were\n{counts}"
            )
    out = folder / HORIZONS / horizon.name
    out.mkdir(parents=True)
    words: list[pl.Series] = []
    fingerprint = write_notes(out, _noted(rows, horizon, shown, words))
    write_split(out / SPLIT, rows, origin.key)
    write_frame(out / EXCLUDED, flow.excluded())
    if (facts := read_admissions(folder, without=(*LATER, "services"))) is not None:
        facts = facts.join(rows, "hadm_id", how="semi", maintain_order="left")
        known = known_at(facts, Path(str(origin.data.dir)), rows.select("hadm_id", "admittime", "end"))
        known.write_parquet(out / ADMISSIONS)
    lengths = pl.concat(words)
    same = ("drg_version", "labels", "titles", "protocol", "labels_decided_by", "undecided", "split")
    # The text holds what a model reads, and nothing else.
    read = {"sections": [WHOLE_NOTE], "headings": [], "fewest_words": 1}
    write_record(
        out,
        {
            **{name: origin.record[name] for name in same if name in origin.record},
            **read,
            "flow": flow.steps,
            "remarks": flow.remarks,
            "splits": splits,
            "words": {"mean": lengths.mean(), "p90": lengths.quantile(0.9)},
            "horizon": {"name": horizon.name, "hours": horizon.hours, "latest_first": horizon.latest_first},
            "origin": origin.record["fingerprint"],
        },
        fingerprint,
    )


def _in_the_house(rows: pl.DataFrame, horizon: Horizon, flow: Flow) -> pl.DataFrame:
    """Keeps the notes of admissions that had not ended at a horizon, and of which something was known then."""
    flow.start("notes of the cohort", rows.height, [])
    rows = flow.keep(
        rows, pl.col("admittime").is_not_null() & pl.col("dischtime").is_not_null(), "with times in hosp/admissions"
    )
    if horizon.reached is not None:
        rows = flow.keep(rows, pl.col("end").is_not_null(), horizon.reached)
    alive = pl.col("deathtime").is_null() | (pl.col("deathtime") > pl.col("end"))
    rows = flow.keep(rows, (pl.col("dischtime") > pl.col("end")) & alive, f"in the house still at {horizon.name}")
    return flow.keep(rows, pl.col("count").is_not_null(), f"with something known at {horizon.name}")


def _noted(rows: pl.DataFrame, horizon: Horizon, shown: _Shown, words: list[pl.Series]) -> Iterator[pl.DataFrame]:
    """Yields the notes with their texts, a few thousand at a time; `words` gets the length of each."""
    parts = -(-rows.height // NOTES_AT_ONCE)
    slices = rows.iter_slices(NOTES_AT_ONCE)
    for part in track(slices, total=parts, what=f"horizon={horizon.name}", unit="piece"):
        asked = part.select("note_id", "hadm_id", "end").iter_rows()
        texts = [
            assembled(horizon, note, admission, end, pieces)
            for (note, admission, end), pieces in zip(asked, shown.read(part), strict=True)
        ]
        words.append(count_words([text.encode() for text in texts]))
        # The discharge diagnosis was written later than any horizon.
        whole = part.with_columns(
            text=pl.Series(texts, dtype=pl.String), diagnosis=pl.lit(None, pl.String), words=words[-1]
        )
        yield whole.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def assembled(horizon: Horizon, note: str, admission: int, end: datetime, pieces: Sequence[str]) -> str:
    """Joins the pieces of one note, and checks by their stamps that each is its own and was known at the horizon.

    Raises:
        HorizonError: one is not.
    """
    texts = []
    for piece in pieces:
        stamp, _, text = piece.partition("\n")
        whose, kind, known = stamp.split("\t")
        if int(whose) != admission or kind not in horizon.kinds or datetime.fromisoformat(known) > end:
            raise HorizonError(
                f"horizon={horizon.name}: the text of note {note} (admission {admission}, until {end}) would show "
                f"{kind} of admission {whose}, known at {known}: a fault of this program, nothing was written"
            )
        texts.append(text)
    return "\n".join(texts[::-1] if horizon.latest_first else texts)
