import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import pytest

from src.cli.compose import compose, read_command_line
from src.cli.errors import UserError
from src.cli.typed_config import leaves
from src.cohort.prepared import read_cohort
from src.config.choices import Kind, Labels, Loss
from src.config.train import TrainConfig
from src.display.catalog import AXES, LABEL_SCHEMES, METRICS, View, label_number, metrics_of
from src.exchange.card import MEANING, SCORES
from src.models.labelspace import LabelSpace
from src.models.schemes import SCHEMES, build_scheme
from src.runs.identity import UNREAD, as_read, axes, differences, flat_keys, identity, readable_name, unread
from src.tracking.guard import LeakError, guarded, guarded_config
from tests.forked import Forks

ROOT = Path(__file__).parents[2]

DEFINED = 'return {"accuracy": float(np.mean(predicted == target))} | f1_scores'
WITH_MISSES = 'return {"accuracy": float(np.mean(predicted == target)), "misses": float(np.mean(predicted != target))} | f1_scores'  # noqa: E501
CATALOGUED = '    Metric("misses", "share missed", (T, L, C, R, F, P), interval=False),\n'

SHOWS = """
import json, sys
from pathlib import Path
from src.exchange.card import MEANING
from src.reporting.run_tables import results_table
from src.scaling_analysis.analysis import analyse
from src.scaling_analysis.run_sources import read_source
from src.tracking.guard import guarded, public_model
from src.wandb_views.dashboard_source import dashboard_source
from src.wandb_views.views import workspace_of
runs = sys.argv[1]
workspace = workspace_of(dashboard_source(runs, Path("unused"), "project", "entity"))
print(json.dumps({
    "allowed": guarded({"test/misses": 0.5, "val/misses": 0.5, "test/base_misses": 0.5}),
    "heads": [column.head for column in results_table(analyse(read_source(runs))).columns],
    "dashboard": workspace._to_model().spec.model_dump_json(by_alias=True),
    "model": public_model("knn"),
}))
"""


class Further(StrEnum):
    """A label scheme, or a kind of system, that somebody added to the enum and nowhere else."""

    FOUR = "four"


def config(cohort: Path, *words: str) -> TrainConfig:
    return compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))[0]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project without weights and with a metric more among its definitions."""
    for room in ("src", "conf"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    definitions = tmp_path / "src" / "metrics" / "definitions.py"
    text = definitions.read_text("utf-8")
    assert text.count(DEFINED) == 1
    definitions.write_text(text.replace(DEFINED, WITH_MISSES), "utf-8")
    return tmp_path


def catalogued(copy: Path) -> None:
    catalog = copy / "src" / "display" / "catalog.py"
    before, table, rest = catalog.read_text("utf-8").partition("\nMETRICS = (\n")
    assert table
    catalog.write_text(before + table + CATALOGUED + rest, "utf-8")


def test_a_metric_of_one_row_is_in_the_record_at_w_and_b_in_the_report_and_on_the_dashboard(
    forks: Forks, copy: Path, cohort: Path
) -> None:
    catalogued(copy)
    (copy / "conf" / "model" / "knn.yaml").write_text((ROOT / "conf" / "model" / "majority.yaml").read_text())
    words = ["model=majority", f"data.dir={cohort}", "out=runs", "data.limit=200"]
    trained = forks.run(["src.train", *words], cwd=copy)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "share missed" in trained.stdout
    (record,) = (json.loads(path.read_text()) for path in copy.glob("runs/*/result.json"))
    assert record["metrics"]["test/misses"] == pytest.approx(1 - record["metrics"]["test/accuracy"])
    shown = forks.run(["-c", SHOWS, "runs"], cwd=copy)
    assert shown.returncode == 0, shown.stderr
    told = json.loads(shown.stdout.splitlines()[-1])
    assert len(told["allowed"]) == 3
    assert "share missed" in told["heads"]
    assert "share missed by context (tokens read at most)" in told["dashboard"]
    assert "test/misses/low" not in told["dashboard"]
    assert told["model"] == "knn", "a model of conf/model keeps its name at W&B"


def test_a_metric_without_its_row_is_refused_by_its_name_and_the_table(forks: Forks, copy: Path, cohort: Path) -> None:
    words = ["model=majority", f"data.dir={cohort}", "out=runs", "data.limit=200"]
    trained = forks.run(["src.train", *words], cwd=copy)
    assert trained.returncode != 0
    line = "test/misses: no such metric is known; add it to src/display/catalog.py::METRICS"
    assert line in trained.stdout + trained.stderr


@pytest.mark.parametrize(
    ("name", "table"),
    [("val/kappa", "METRICS"), ("train/heat", "CURVES"), ("counts/beds", "COUNTS"), ("seconds/idle", "SECONDS"),
     ("axes/heads", "AXES"), ("cost/euros", "COSTS")],
)  # fmt: skip
def test_a_name_that_the_guard_does_not_know_is_refused_with_its_table(name: str, table: str) -> None:
    with pytest.raises(LeakError, match=re.escape(f"{name}: no such metric is known; add it to ") + f".*::{table}$"):
        guarded({name: 1.0})


def test_an_axis_that_the_guard_does_not_know_is_refused_with_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LeakError, match=r"heads: no such key .*; add it to src/display/catalog.py::AXES"):
        guarded_config({"heads": 4})
    axis = dataclasses.replace(AXES[0], key="optimiser")
    monkeypatch.setattr("src.tracking.guard.AXES", (*AXES, axis))
    with pytest.raises(LeakError, match=r"optimiser: .*; add it to src/tracking/guard.py::CONFIG_STRINGS"):
        guarded_config({"optimiser": "adamw"})


def test_every_metric_that_runs_measure_has_its_row(runs: dict[str, Path]) -> None:
    for run in runs.values():
        record = json.loads((run / "result.json").read_text())
        guarded(dict.fromkeys(record["metrics"], 0.0))
        bounded = {metric.test for metric in METRICS if metric.interval} & set(record["metrics"])
        assert len(bounded) > 5
        assert bounded <= set(record["intervals"])


def test_every_view_shows_a_metric_and_those_of_people_begin_with_macro_f1() -> None:
    assert all(metrics_of(view) for view in View)
    assert next(iter(metrics_of(View.REPORT))) == "test/macro_f1"
    assert len({metric.key for metric in METRICS}) == len(METRICS)


def test_every_axis_is_typed_as_the_configuration_has_it(cohort: Path) -> None:
    keys = {*dict(leaves(TrainConfig)), "model", ""}
    assert {axis.typed for axis in AXES} <= keys
    assert list(axes(config(cohort), 7, "clean")) == [axis.key for axis in AXES if not axis.later]


def test_a_later_axis_is_named_where_it_is_not_the_default(cohort: Path) -> None:
    cfg = config(cohort)
    defaults = {axis.key: axis.default for axis in AXES if axis.later}
    values = dict(flat_keys(dataclasses.asdict(cfg)))
    assert defaults == {axis.key: values[axis.typed] for axis in AXES if axis.later}
    named = axes(dataclasses.replace(cfg, loss=Loss.FOCAL, warmup=0.1), 7, "clean")
    assert {key: value for key, value in named.items() if key in defaults} == {"loss": "focal", "warmup": 0.1}


def test_every_label_scheme_is_in_every_table_and_keeps_its_number() -> None:
    assert set(SCHEMES) == set(MEANING) == set(SCORES) == set(Labels) == set(LABEL_SCHEMES)
    assert [label_number(scheme) for scheme in ("single", "two", "joint")] == [0, 1, 2]


def test_a_label_scheme_of_the_enum_alone_is_refused_with_the_file_to_edit(
    cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    four, space = Further.FOUR, LabelSpace.from_labels(read_cohort(cohort).labels)
    with pytest.raises(UserError, match=r"labels=four: .* add it to src/models/schemes.py::SCHEMES"):
        build_scheme(four, space, 0.5)  # type: ignore[arg-type]
    monkeypatch.setitem(SCHEMES, four, SCHEMES[Labels.SINGLE])  # type: ignore[misc]
    with pytest.raises(UserError, match=r"labels=four: .* src/display/catalog.py::LABEL_SCHEMES"):
        build_scheme(four, space, 0.5)  # type: ignore[arg-type]


def test_every_kind_says_what_it_does_not_read(cohort: Path) -> None:
    assert set(UNREAD) == set(Kind)
    assert {key for keys in UNREAD.values() for key in keys} <= set(dict(leaves(TrainConfig)))
    for axis in [axis for axis in AXES if axis.adapters_only]:
        assert {kind for kind in Kind if axis.typed not in UNREAD[kind]} == {Kind.LLAMA}
    with pytest.raises(UserError, match=r"model.kind=four: .* src/runs/identity.py::UNREAD"):
        unread(Further.FOUR)  # type: ignore[arg-type]


def test_no_model_sets_what_its_own_system_does_not_read(cohort: Path) -> None:
    names = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml") if path.stem != "local")
    assert len(names) > 12
    for name in names:
        cfg = config(cohort, f"model={name}")
        assert as_read(cfg) == cfg, name


@pytest.mark.parametrize(
    ("model", "words", "same"),
    [
        ("tfidf", ["lora.r=16", "lr=0.1", "prompt=diagnosis", "precision=bf16", "max_len=64", "epochs=9"], True),
        ("majority", ["seed=3", "batch_size=8"], True),
        ("structured", ["lora.alpha=4", "max_len=64", "lr=0.1"], True),
        ("caml", ["lora.r=16", "prompt=diagnosis"], True),
        ("tfidf", ["seed=3"], False),
        ("structured", ["epochs=9"], False),
        ("caml", ["lr=0.1"], False),
        ("nano", ["lora.r=16"], False),
    ],
)
def test_a_system_is_another_run_only_for_what_it_reads(model: str, words: list[str], same: bool, cohort: Path) -> None:
    plain, changed = config(cohort, f"model={model}"), config(cohort, f"model={model}", *words)
    assert (identity(plain, "x") == identity(changed, "x")) is same
    assert (readable_name(plain) == readable_name(changed)) is (same or words[0].startswith(("epochs", "lr")))
    kept = {"config": dataclasses.asdict(plain), "cohort": "x"}
    assert (differences(changed, "x", kept) == []) is same


def test_a_grid_over_ranks_plans_and_names_one_run_of_a_system_without_adapters(
    cohort: Path, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    words = ["-m", "model=tfidf,femto", "lora.r=4,8,16", f"data.dir={cohort}", f"out={tmp_path}", "device=cpu"]
    done = command("src.train", *words, "data.limit=48", "dry_run=true")
    assert done.stdout.count("\ntfidf-") == 1
    assert done.stdout.count("\nfemto-") == 3
    assert "multirun: 4 cells" in done.stdout
    assert "model=tfidf: does not read lora.r; 3 cells are one run, tfidf-len512-r8-single-s0-c" in done.stderr
