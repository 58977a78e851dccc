"""Starts a run from another's adapters and from those rows of its head that mean the same: `init_from=RUN`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.cli.compose import to_schema
from src.cli.errors import UserError
from src.cli.files import atomic_write
from src.cohort.crosswalk import bases_one_to_one, one_to_one, shared_with, why_not_one_to_one
from src.cohort.msdrg import VERSIONS
from src.cohort.prepared import Cohort
from src.config.prepare import system_name
from src.config.train import TrainConfig
from src.display.spreadsheet import write_csv
from src.models.classifier import Classifier, read_trained
from src.models.labelspace import LabelSpace
from src.models.schemes import Scheme, build_scheme
from src.runs.folder import RunFolder
from src.runs.identity import flat_keys
from src.runs.kept_cohort import read_kept
from src.runs.record import read_record

HEAD = "head.weight"
"""The head among what a classifier has trained."""

SAME = ("labels", "pooling", "lora.r", "lora.alpha", "lora.targets", "lora.rslora")
"""Keys beside the base's that decide which weights there are, and what they compute."""

SHOWN = {"DRG": 20, "base DRG": 3}
"""Rows of a kind that are named in a line; the table has all."""

Meanings = Callable[[LabelSpace], Sequence[Any]]

KINDS: dict[str, tuple[str, Meanings]] = {
    "logit": ("DRG", lambda space: space.codes),
    "base_logit": ("base DRG", lambda space: [space.bases[index] for index in space.base]),
    "severity_logit": ("severity", lambda space: [space.severities[index] for index in space.severity]),
    "mdc_logit": ("MDC", lambda space: [space.mdcs[index] for index in space.mdc]),
    "type_logit": ("type", lambda space: [space.types[index] for index in space.type]),
}
"""Of each of `Scheme.logit_indices` what its logits stand for, in a word, and of each DRG of a label space."""


@dataclass(frozen=True)
class HeadRow:
    """Says where a row of the head starts."""

    kind: str
    """A DRG, a base DRG, a severity, an MDC or a type."""
    logit: int
    meaning: str
    """What the logit stands for: a code, a base DRG, or another class in words."""
    words: str
    """The title of a DRG, and the like."""
    source: int | None
    """The logit of the other run that it is moved from; None for a row that must be learnt anew."""
    source_meaning: str
    remark: str
    """Why it must be learnt anew, or what of a moved one is not as it was."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """Holds what a run starts from."""

    run: Path
    systems: tuple[str, str]
    """What the labels of the other run are, and those of this one."""
    weights: Mapping[str, Tensor]
    """What the other run has trained, by the names of `Classifier.trained`."""
    rows: Sequence[HeadRow]
    """Of each logit."""

    @property
    def counts(self) -> dict[str, int]:
        """Counts for the run's record the rows that are moved, and those that must be learnt anew."""
        moved = sum(row.source is not None for row in self.rows)
        return {"moved_rows": moved, "fresh_rows": len(self.rows) - moved}

    @torch.no_grad()
    def begin(self, classifier: Classifier) -> None:
        """Takes over adapters and the rows that mean the same; other rows stay as a fresh head has them."""
        for name, weight in classifier.trained().items():
            if name != HEAD:
                weight.copy_(self.weights[name])
        head, moved = classifier.head.weight, [(row.logit, row.source) for row in self.rows if row.source is not None]
        sources = self.weights[HEAD][[source for _, source in moved]]
        head[[logit for logit, _ in moved]] = sources.to(head.device, head.dtype)

    def lines(self) -> list[str]:
        """Says what is moved, kind by kind, and which DRGs must be learnt anew."""
        former, system = self.systems
        parts, anew = [], []
        for kind in dict.fromkeys(row.kind for row in self.rows):
            rows = [row for row in self.rows if row.kind == kind]
            fresh, most = [row.meaning for row in rows if row.source is None], SHOWN.get(kind, len(rows))
            parts.append(f"{len(rows) - len(fresh):,} of {len(rows):,} rows by {kind}")
            if fresh:
                more = f" and {len(fresh) - most:,} more" if len(fresh) > most else ""
                anew.append(f"to be learnt anew, {kind}: {'; '.join(fresh[:most])}{more}")
        return [f"init_from={self.run}: its adapters, and of its head ({former} to {system}) {'; '.join(parts)}", *anew]

    def write(self, path: Path) -> None:
        """Writes a row of the head a line, as CSV."""
        columns = ["kind", "row", "title", "start", "from", "remark"]
        starts = ("learnt anew", "moved")
        values = [
            [row.kind, row.meaning, row.words, starts[row.source is not None], row.source_meaning, row.remark]
            for row in self.rows
        ]
        with atomic_write(path) as tmp:
            write_csv(tmp, columns, values)


def open_warm_start(cfg: TrainConfig, cohort: Cohort, scheme: Scheme) -> WarmStart | None:
    """Reads the run that `init_from=` names; None where it names none.

    Raises:
        UserError: it is not finished or damaged, has other weights than this configuration, or labels that no
            crosswalk brings to those of the cohort.
    """
    if cfg.init_from is None:
        return None
    run = Path(cfg.init_from)
    record, kept = read_record(run), read_kept(RunFolder(run))
    _refuse_other_weights(cfg, to_schema(TrainConfig, {**record.config, "init_from": None}))
    if kept is None:
        raise UserError(
            f"init_from={run}: an earlier version trained it, and it does not say its labels; train it again"
        )
    version, former = cohort.record["drg_version"], kept.record["drg_version"]
    systems = system_name(former), system_name(version)
    if version != former and not {version, former} <= set(VERSIONS):
        raise UserError(
            f"init_from={run}: its labels are {systems[0]}, those of data.dir={cfg.cohort_dir} {systems[1]}; only the "
            "versions of the MS-DRGs have a crosswalk"
        )
    there = build_scheme(cfg.labels, LabelSpace.from_labels(Cohort(run, kept.record).labels), cfg.severity_weight)
    weights = read_trained(RunFolder(run).adapter)
    if len(weights[HEAD]) != there.width:
        raise UserError(f"init_from={run}: its head has {len(weights[HEAD])} rows, its labels need {there.width}")
    return WarmStart(run, systems, weights, head_rows(scheme, version, there, former))


def _refuse_other_weights(cfg: TrainConfig, theirs: TrainConfig) -> None:
    """Holds the other run to the same base, rank and label scheme.

    Raises:
        UserError: it has others.
    """
    ours_flat, theirs_flat = (dict(flat_keys(dataclasses.asdict(config))) for config in (cfg, theirs))
    pairs = [(key, ours_flat[key], theirs_flat[key]) for key in SAME]
    pairs.insert(0, ("model.path", cfg.model.path, theirs.model.path))
    unnamed = [dataclasses.replace(config.model, name="", access="") for config in (cfg, theirs)]
    differing = [f"{key} ({value}, there {other})" for key, value, other in pairs if value != other]
    if differing or unnamed[0] != unnamed[1]:
        named = "; ".join(differing) or "the base's architecture"
        raise UserError(
            f"init_from={cfg.init_from}: that run differs in {named}; its weights fit the same base, adapters and "
            "label scheme alone"
        )


def head_rows(scheme: Scheme, version: str | None, there: Scheme, former: str | None) -> list[HeadRow]:
    """Says of each logit of a scheme which logit of another, `there`, means the same.

    A DRG and a base DRG do where the crosswalk of their versions is one to one; a severity, an MDC and a type by name.

    Raises:
        UserError: nothing says what some logits stand for.
    """
    rows = []
    for key, logits in scheme.logit_indices().items():
        if key not in KINDS:
            raise UserError(f"{key}: init_from= cannot tell what it means; add it to {__name__}.KINDS")
        kind, meanings_of = KINDS[key]
        own = dict(zip(meanings_of(scheme.space), logits, strict=True))
        sources = dict(zip(meanings_of(there.space), there.logit_indices()[key], strict=True))
        matched = _matched(kind, list(own), version, former)
        for meaning, logit in own.items():
            earlier = matched[meaning]
            source = sources.get(earlier)
            remark = _remark(kind, meaning, earlier, source, version, former)
            stands_for = "" if source is None else _in_words(there, kind, source, earlier)
            named = _in_words(scheme, kind, logit, meaning)
            rows.append(HeadRow(kind, logit, named, scheme.words[logit], source, stands_for, remark))
    return rows


def _in_words(scheme: Scheme, kind: str, logit: int, meaning: Any) -> str:
    return str(meaning) if kind in ("DRG", "base DRG") else scheme.logits[logit]


def _matched(kind: str, meanings: Sequence[Any], version: str | None, former: str | None) -> dict[Any, Any]:
    """Finds what each meaning was in the other version; None where nothing alone was the same."""
    if version == former or version is None or former is None or kind not in ("DRG", "base DRG"):
        return {meaning: meaning for meaning in meanings}
    bases = bases_one_to_one(version, former) if kind == "base DRG" else {}
    return {
        meaning: bases.get(meaning) if kind == "base DRG" else one_to_one(meaning, version, former)
        for meaning in meanings
    }


def _remark(kind: str, meaning: Any, earlier: Any, source: int | None, version: str | None, former: str | None) -> str:
    versions = version is not None and former is not None and version != former
    if earlier is not None and source is None:
        return "no label of that run"
    if kind == "DRG" and versions:
        explain = why_not_one_to_one if source is None else shared_with
        return explain(str(meaning), str(version), str(former))
    return f"not all of its DRGs are one to one those of a base DRG of {former}" if source is None else ""
