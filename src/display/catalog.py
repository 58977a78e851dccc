"""Lists what is measured and what varies, each fact once: METRICS, CURVES and AXES, read by guard and tables."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from src.cli.errors import UserError
from src.display.figure_style import short as short_count

HERE = "src/display/catalog.py"


class View(StrEnum):
    """Names where a metric is shown."""

    TABLE = "table"
    """What `train` prints at its end."""
    LEADERBOARD = "leaderboard"
    """Of `status`."""
    COMPARISON = "comparison"
    """What `compare` prints."""
    REPORT = "report"
    """The tables of a report and of a dashboard."""
    FIGURES = "figures"
    """A picture or a panel of its own, and sentences on it."""
    PARALLEL = "parallel"
    """A dashboard's parallel coordinates."""
    BARS = "bars"
    """The picture of systems beside each other."""


T, L, C, R, F, P, B = View
"""The views by their first letters, for the table below."""


@dataclass(frozen=True)
class Metric:
    """Describes a metric of a record, measured on validation as `val/KEY` and on the test as `test/KEY`.

    Attributes:
        key: as `src.metrics.definitions` names it.
        name: at the head of a column.
        shown: where it is shown; the files that commands write have every metric.
        long: in a sentence and beside an axis; empty for the name.
        brief: in what a terminal shows; empty for the name.
        interval: whether it has one, as what `src.metrics.weighted` sums up has.
        apr: at the head of a column of runs on APR-DRGs; empty for the name.
    """

    key: str
    name: str
    shown: tuple[View, ...] = ()
    long: str = ""
    brief: str = ""
    interval: bool = True
    apr: str = ""

    @property
    def test(self) -> str:
        """Is its name in `result.json`, of the test."""
        return f"test/{self.key}"

    @property
    def words(self) -> str:
        """Is its name in a sentence."""
        return self.long or self.name


HEADS = ("", "base_", "severity_", "rule_")
"""What is measured: the DRG, its base DRG, its severity, and the paper's recombination of these two.

A metric's key begins with its head; one that a head shares with the DRG needs no row of its own."""

METRICS = (
    Metric("accuracy", "top-1", (T, L, C, R, F, P, B), long="top-1 accuracy"),
    Metric("top5", "top-5", (T, L, C, B)),
    Metric("top10", "top-10", (T,)),
    Metric("macro_f1", "macro-F1", (T, L, C, R, F, P, B)),
    Metric("macro_f1_all", "macro-F1 over all classes"),
    Metric("micro_f1", "micro-F1", (T,)),
    Metric("micro_f1_all", "micro-F1 over all classes"),
    Metric("macro_auc", "macro-AUC", (T, L, C, R)),
    Metric("micro_auc", "micro-AUC", (T,)),
    Metric("base_accuracy", "base DRG", (T, L, C, R, P, B), brief="base"),
    Metric("severity_accuracy", "CC/MCC", (T, L, C, R, P, B), apr="severity of illness"),
    Metric("rule_accuracy", "by rule", (T, C, R)),
)
"""Every metric, in the order of the tables; a share of 1, better where it is higher."""

MEASURED = [
    *(metric.key for metric in METRICS),
    *(f"{head}{metric.key}" for head in HEADS[1:] for metric in METRICS if not metric.key.startswith(HEADS[1:])),
]
"""The names of all metrics of a record, without their split."""

MAIN = "test/macro_f1"
"""The field's own measure, which reports and dashboards show first."""


def metrics_of(view: View, apr: bool = False) -> dict[str, Metric]:
    """Picks the metrics that a view shows, by their names of the test; in reports and dashboards `MAIN` is first.

    With `apr` they are named as of runs on APR-DRGs.

    >>> list(metrics_of(View.FIGURES)), list(metrics_of(View.LEADERBOARD))[:2]
    (['test/macro_f1', 'test/accuracy'], ['test/accuracy', 'test/top5'])
    """
    rows = [metric for metric in METRICS if view in metric.shown]
    if view in (View.REPORT, View.FIGURES, View.PARALLEL):
        rows.sort(key=lambda metric: metric.test != MAIN)
    return {metric.test: replace(metric, name=metric.apr) if apr and metric.apr else metric for metric in rows}


def metric_name(key: str) -> str:
    """Names a metric or a curve at the head of a column.

    >>> metric_name("test/macro_f1"), metric_name("val/loss"), metric_name("val/accuracy")
    ('macro-F1', 'validation loss', 'validation accuracy')
    """
    named = {metric.test: metric.name for metric in METRICS if View.REPORT in metric.shown}
    return named.get(key) or key.replace("/", " ").replace("_", " ").replace("val", "validation")


@dataclass(frozen=True)
class Curve:
    """Describes what a run logs while it trains, beside the metrics of validation.

    Attributes:
        key: in `history.jsonl`.
        name: of its panel; empty for one that has none.
        section: of the dashboard.
        loss: whether it is better where it is lower, has no share's bounds, and no interval over patients.
        timed: whether it tells of the machine and the moment, so that the same run again has another.
    """

    key: str
    name: str = ""
    section: str = "Learning curves"
    loss: bool = False
    timed: bool = False


CURVES = (
    Curve("train/loss", "training loss", loss=True),
    Curve("val/loss", "validation loss", loss=True),
    Curve("val/accuracy", "validation accuracy"),
    Curve("train/lr", "learning rate"),
    *(Curve(f"lr-AdamW{end}") for end in ("", "-momentum", "-weight_decay")),
    Curve("train/grad_norm", "gradient norm"),
    Curve("train/tokens_per_second", "tokens a second", timed=True),
    Curve("train/padding", "share of padding"),
    Curve("train/seconds_left", "seconds left", timed=True),
    Curve("train/epoch"),
    Curve("train/cpu_percent", "CPU used by the process (%)", "Memory and device", timed=True),
    Curve("train/memory_gib", "memory of the process (GiB)", "Memory and device", timed=True),
    Curve("train/gpu_memory_gib", "GPU memory (GiB)", "Memory and device", timed=True),
    Curve("train/gpu_percent", "GPU used (%)", "Memory and device", timed=True),
)
"""Every curve, in the order of the panels."""

TIMED = tuple(curve.key for curve in CURVES if curve.timed)
"""The curves in which the same run differs when it is made again."""

COUNTS = (
    "train", "validation", "test", "drgs", "test_drgs", "trainable_parameters", "base_parameters", "steps", "best_step",
    "moved_rows", "fresh_rows",
)  # fmt: skip
SECONDS = ("starting", "training", "evaluation", "total")
COSTS = {"cost/device_hours": "device-hours", "tokens_seen": "tokens seen in training"}
"""Further numbers of a record; those of `COSTS` are what metrics are drawn against."""

STEP = "trainer/global_step"
"""What curves are drawn against: after a resume steps repeat, and the last counts."""


def is_loss(key: str) -> bool:
    """Says whether a curve is better where it is lower, has no share's bounds, and no interval over patients.

    >>> is_loss("val/loss"), is_loss("test/accuracy")
    (True, False)
    """
    return any(curve.loss for curve in CURVES if curve.key == key)


@dataclass(frozen=True)
class Axis:
    """Describes something in which runs differ.

    Attributes:
        key: in the record's `axes` and in W&B's configuration.
        typed: as it is typed; empty for what follows from something else.
        name: in a sentence and in tables.
        head: of a column of results; empty for the name.
        title: beside a figure's axis, with its unit; empty for the name.
        step: what one step along it is from, as in `next size`; empty for the name.
        more: what a step up is, as a sentence begins.
        value: how a value is shown where the axis is not named.
        listed: how it is shown in a list of values of one kind.
        slug: its part of a run's name; empty for an axis that the name does not show.
        main: whether it is one that the field asks about; others may only follow one of these.
        number: whether its values are numbers.
        log: whether a dashboard draws it logarithmically.
        dashboard: whether a dashboard's parallel coordinates have it.
        adapters_only: whether a system without a base has no such thing.
        later: whether runs were recorded before there was such a key; a record names it where it is not the default.
        default: its value in a record that does not name it.
    """

    key: str
    typed: str
    name: str
    head: str = ""
    title: str = ""
    step: str = ""
    more: str = ""
    value: str = ""
    listed: str = ""
    slug: str = ""
    main: bool = False
    number: bool = True
    log: bool = False
    dashboard: bool = False
    adapters_only: bool = False
    later: bool = False
    default: Any = None

    def brief(self, value: Any) -> str:
        """Writes a value in a cell's name."""
        return self.value.format(value) if self.value else f"{self.key} {value}"

    def in_words(self, value: Any) -> str:
        """Writes a value in a legend."""
        return self.listed.format(value) if self.listed else f"{self.key} = {value}"

    def shown(self, value: Any) -> str:
        """Writes a value after the axis's name: parameters in few letters."""
        if self.key in (SIZE, FLOP):
            return short_count(value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    def typed_value(self, value: Any) -> str:
        """Writes a value as it is typed, and `RUN` for the run that another was started from, which is a path."""
        if self.key == WARM_START:
            return "RUN" if value else "null"
        return "null" if value is None else str(value)

    @property
    def heading(self) -> str:
        """Names it at the head of a column of results."""
        return self.head or self.name

    @property
    def unit(self) -> str:
        """Names what one step along it is from."""
        return self.step or self.name


MODEL, SIZE, FLOP, HORIZON, WARM_START = "model", "params", "flop", "horizon", "warm_start"
"""The axis that names a system, its base's parameters, which stand for it (0 where it has no base), compute, up to when
the texts were known, and whether another run's weights were its first."""

AXES = (
    Axis("model", "model", "model", slug="{}", number=False, dashboard=True),
    Axis(
        "params", "model", "size", title="parameters of the base", more="A larger base", main=True, log=True,
        dashboard=True,
    ),
    Axis(
        "max_len", "max_len", "context", "tokens", "context (tokens read at most)", "length", "More context", "{}",
        "{} tokens", "len{}", main=True, log=True, dashboard=True,
    ),
    Axis(
        "lora_r", "lora.r", "rank", title="LoRA rank r", more="A higher LoRA rank", value="r{}", listed="r = {}",
        slug="r{}", main=True, log=True, dashboard=True, adapters_only=True,
    ),
    Axis("lora_alpha", "lora.alpha", "lora alpha", adapters_only=True),
    Axis(
        "labels", "labels", "label scheme", "labels", "label scheme", more="Another label scheme", value="{}",
        slug="{}", main=True, number=False, dashboard=True,
    ),
    Axis(
        HORIZON, "horizon", "horizon", title="horizon", value="{}", slug="{}", number=False, later=True,
        default="discharge",
    ),
    Axis("prompt", "prompt", "prompt", number=False),
    Axis("lr", "lr", "lr", log=True, dashboard=True),
    Axis("epochs", "epochs", "epochs"),
    Axis("batch_size", "batch_size", "batch size"),
    Axis("seed", "seed", "seed", value="s{}", slug="s{}", dashboard=True),
    Axis("protocol", "", "protocol", number=False),
    Axis("head", "head", "head", value="head {}", number=False, adapters_only=True, later=True, default="random"),
    Axis(
        "pooling", "pooling", "pooling", value="{} pooled", number=False, later=True, default="last",
    ),
    Axis("loss", "loss", "loss", value="{}", number=False, later=True, default="cross_entropy"),
    Axis("loss_strength", "loss_strength", "loss strength", later=True),
    Axis("lora_rslora", "lora.rslora", "rsLoRA", adapters_only=True, later=True, default=False),
    Axis("lora_plus", "lora.plus", "LoRA+ ratio", adapters_only=True, later=True),
    Axis("head_lr", "head_lr", "head lr", later=True),
    Axis("warmup", "warmup", "warm-up", later=True, default=0.0),
    Axis("schedule", "schedule", "schedule", value="{}", number=False, later=True, default="linear"),
    Axis("validations", "validations", "validations an epoch", later=True, default=1),
    Axis("patience", "patience", "patience", later=True),
    Axis(WARM_START, "init_from", "warm start", later=True),
)  # fmt: skip
"""Every axis, in the order of a record."""

NAMED = tuple(axis for axis in AXES if axis.slug)
"""The axes in a run's name; a later one only where it is not the default."""

COORDINATES = tuple(axis for axis in AXES if axis.main)
"""The axes that the field asks about."""

GRID = tuple(axis for axis in COORDINATES if axis.number)
"""Those of them along which a law is fitted and a line is drawn."""

LABEL_SCHEMES = (
    "single",
    "two",
    "joint",
    "levels",
)
"""Label schemes by their number, which is their coordinate in W&B's charts: a new one comes last."""


def label_number(scheme: str) -> int:
    """Returns the number of a label scheme.

    Raises:
        UserError: it has none.
    """
    if scheme not in LABEL_SCHEMES:
        raise UserError(f"labels={scheme}: has no number for W&B's charts; add it as the last of {HERE}::LABEL_SCHEMES")
    return LABEL_SCHEMES.index(scheme)


def axis_of(key: str) -> Axis:
    """Finds an axis by its key; one that the catalog does not have goes by its key alone.

    >>> axis_of("lora_r").name, axis_of("flop").name, axis_of("weight_decay").name
    ('rank', 'compute', 'weight decay')
    """
    by_key = {axis.key: axis for axis in (*AXES, Axis(FLOP, "", "compute"))}
    return by_key.get(key) or Axis(key, key, key.replace("_", " "))


def typed(axes: Iterable[tuple[str, Any]]) -> str:
    """Writes values of axes as they are typed.

    >>> typed([("params", "nano"), ("lora_r", 8), ("seed", 2)])
    'model=nano lora.r=8 seed=2'
    """
    return " ".join(f"{axis_of(key).typed}={axis_of(key).typed_value(value)}" for key, value in axes)
