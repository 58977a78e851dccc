"""A search: its trials are each begun, told and shown once, whatever is killed, and none sees the test."""

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from src.cli.compose import CONF, Composed, Point, compose, compose_points, read_command_line, to_schema
from src.cli.errors import UserError
from src.cli.search_space import Dimension, space_of
from src.cli.typed_config import leaves
from src.config.choices import Kind, Together
from src.config.sweeper import SearchConfig
from src.config.train import TrainConfig
from src.metrics.intervals import Estimate
from src.runs.folder import RunFolder
from src.runs.identity import identity
from src.runs.job import Job, config_of, read_job
from src.runs.record import read_record
from src.runs.state import RunStatus
from src.runs.status import read_status
from src.runs.trial_record import TrialEnd, read_trial
from src.sweeps import study as studies
from src.sweeps import sweep, trial
from src.sweeps.start import launch
from src.sweeps.status_table import read_rows, status_table, summary
from src.sweeps.study import SlotTrial, Study
from src.sweeps.sweep import Launcher
from src.sweeps.trial import Report, run_trial
from src.sweeps.trial_table import best_of, command_words
from src.sweeps.tuning import Search, plan_search, run_search
from src.sweeps.worker import work
from src.train import train
from src.training.divergence import NotFinite

WORDS = ["model=femto", "max_len=64", "data.limit=24", "epochs=1", "threads=1", "device=cpu", "wandb.mode=disabled"]
VALIDATED = (3, 6)
"""Steps of an epoch of 24 notes at which the made objective reports; it takes 6."""


def in_this_process(name: str, jobs: Sequence[Job], cfg: Any, task: Callable[[Path], int]) -> None:
    for job in jobs:
        task(job.folder)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sweep.LAUNCHERS, "processes", Launcher("tests.sweeps.test_tuning", "in_this_process"))


def typed(cohort: Path, out: Path, *words: str) -> list[str]:
    return [*WORDS, f"data.dir={cohort}", f"out={out}", *words]


def asked(cohort: Path, out: Path, *words: str, trials: int = 5) -> Search:
    flags = ["--config-dir", str(CONF.parent / "sweeps"), "--config-name", "search"]
    line = read_command_line([*flags, *typed(cohort, out, f"hydra.sweeper.trials={trials}", *words)], "train")
    return plan_search("search", compose_points(TrainConfig, line))


def like(calm: Search, out: Path, trials: int = 5, **parts: Any) -> Search:
    """The same search in another folder."""
    settings = dataclasses.replace(calm.settings, trials=trials)
    return dataclasses.replace(calm, cfg=dataclasses.replace(calm.cfg, out=str(out)), settings=settings, **parts)


def objective(cfg: TrainConfig, folder: Path, report: Report) -> tuple[dict[str, Estimate], dict[str, float], int]:
    """Is best at lr=1e-3, and better with each validation."""
    value = 1 - abs(math.log10(cfg.lr) + 3) / 4
    for number, step in enumerate(VALIDATED, 1):
        report({"val/accuracy": value - 0.1 / number}, step)
    return {"accuracy": Estimate(value, 0.01, value - 0.02, value + 0.02)}, {"accuracy": value}, VALIDATED[-1]


def by(validate: trial.Validate) -> Callable[[Path], int]:
    return lambda folder: work(folder, lambda cfg, run_dir: run_trial(cfg, run_dir, validate))


def trials_of(search: Search) -> list[tuple[int, str, dict[str, Any]]]:
    """Says of each trial in the journal its slot, how it ended and what was chosen."""
    frozen = sorted(search.study().trials().items())
    return [(slot, trial.state.name, dict(trial.params)) for slot, trial in frozen]


@pytest.fixture(scope="module")
def calm(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Search:
    out = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sweep.LAUNCHERS, "processes", Launcher("tests.sweeps.test_tuning", "in_this_process"))
        search = asked(cohort, out)
        run_search(search, typed(cohort, out), by(objective))
    return search


def test_every_trial_is_accounted_for_and_the_best_is_named(
    calm: Search, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = typed(cohort, Path(calm.cfg.out))
    run_search(calm, words, lambda folder: pytest.fail("tried again"))
    shown = capsys.readouterr().out
    records = {job.folder.name: read_trial(job.folder) for job in calm.jobs()}
    ends = [record.end for record in records.values() if record]
    assert len(ends) == len(trials_of(calm)) == 5
    assert {TrialEnd.COMPLETE, TrialEnd.PRUNED} == set(ends)
    assert f"{ends.count(TrialEnd.COMPLETE)} complete, {ends.count(TrialEnd.PRUNED)} pruned, 0 failed" in shown
    best = best_of({name: record for name, record in records.items() if record})
    assert best
    steps = sum(record.steps for record in records.values() if record)
    assert f"{steps} steps; without stopping 30 ({steps / 30:.0%})" in shown
    assert f" name={best}\n" in shown


def test_the_command_that_is_printed_asks_for_the_run_of_the_best_trial(calm: Search, cohort: Path) -> None:
    for job in calm.jobs()[3:]:
        cfg = config_of(job.folder)
        words = command_words([*typed(cohort, Path(cfg.out)), "lr=1,2", "hydra.sweeper.trials=9"], cfg, job.name)
        (again,) = compose(TrainConfig, read_command_line(words, "train"))
        assert identity(again, "cohort") == identity(cfg, "cohort")
        assert (again.name, again.out) == (job.name, cfg.out)


def test_a_search_of_the_same_seed_chooses_the_same(calm: Search, cohort: Path, tmp_path: Path) -> None:
    again = asked(cohort, tmp_path, trials=3)
    assert again.name == calm.name
    run_search(again, typed(cohort, tmp_path), by(objective))
    assert trials_of(again) == trials_of(calm)[:3]
    assert plan_search("search", composed(calm, seed=1)).name != calm.name


class Killed(BaseException):
    """Ends the work as a kill would."""


def once(kill: str, patch: pytest.MonkeyPatch) -> None:
    """Kills the next worker at a point of its work; `after` points come behind what is named."""
    owner, name, after = {
        "asked": (studies, "suggested", False),
        "a value chosen": (studies, "suggested", True),
        "chosen": (trial, "decide", False),
        "written": (trial, "decide", True),
        "validated": (SlotTrial, "report", False),
        "reported": (SlotTrial, "report", True),
        "to be recorded": (trial, "write_trial", False),
        "recorded": (trial, "write_trial", True),
        "told": (Study, "tell", True),
    }[kill]
    real = getattr(owner, name)

    def killed(*arguments: Any) -> Any:
        if after:
            real(*arguments)
        patch.setattr(owner, name, real)
        raise Killed

    patch.setattr(owner, name, killed)


@pytest.mark.parametrize(
    "kill",
    ["asked", "a value chosen", "chosen", "written", "validated", "reported", "to be recorded", "recorded", "told"],
)
def test_a_kill_loses_and_doubles_no_trial(
    kill: str, calm: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = like(calm, tmp_path, trials=2)
    once(kill, monkeypatch)

    def killed_once(folder: Path) -> int:
        try:
            run_trial(config_of(folder), folder, objective)
        except Killed:
            if not read_trial(folder):  # or no launcher would start it again
                run_trial(config_of(folder), folder, objective)
        return 0

    run_search(search, [], killed_once)
    assert [slot for slot, _, _ in trials_of(search)] == [0, 1]
    assert all(state in ("COMPLETE", "PRUNED") for _, state, _ in trials_of(search))
    if kill != "a value chosen":  # the sampler draws the rest anew
        assert trials_of(search) == trials_of(calm)[:2]
    for slot, job in enumerate(search.jobs()):
        frozen = search.study().trials()[slot]
        assert frozen.user_attrs["steps"] == list(VALIDATED)[: len(frozen.intermediate_values)]
        record = read_trial(job.folder)
        assert record
        assert record.words == job.words == read_job(job.folder)["words"]
        assert config_of(job.folder).lr == pytest.approx(frozen.params["lr"], rel=1e-3)


def failing(error: Exception) -> trial.Validate:
    def validate(*_: Any) -> Any:
        raise error

    return validate


def no_number(*_: Any) -> tuple[dict[str, Estimate], dict[str, float], int]:
    return {"accuracy": Estimate(math.nan, 0, 0, 0)}, {}, 6


@pytest.mark.parametrize(
    ("validate", "reason"),
    [
        (failing(FloatingPointError("Mrs. Miller")), "FloatingPointError"),
        (failing(MemoryError()), "memory ran out"),
        (failing(NotFinite("lr=1: loss nan at step 3")), "lr=1: loss nan at step 3"),
        (no_number, "its accuracy on validation notes is no number"),
    ],
)
def test_a_trial_that_cannot_be_trained_is_told_as_failed_and_not_begun_again(
    validate: trial.Validate, reason: str, calm: Search, tmp_path: Path
) -> None:
    search = like(calm, tmp_path, trials=2)
    first = search.jobs()[0].folder

    def task(folder: Path) -> int:
        return by(validate if folder == first else objective)(folder)

    run_search(search, [], task)
    assert [state for _, state, _ in trials_of(search)] == ["FAIL", "COMPLETE"]
    assert search.study().trials()[0].user_attrs["reason"].startswith(reason)
    assert "Miller" not in RunFolder(first).trial.read_text() + journal(search)
    assert read_status(first).standing is RunStatus.FAILED
    run_search(search, [], lambda folder: pytest.fail("tried again"))


def journal(search: Search) -> str:
    (path,) = (Path(search.cfg.out) / ".sweeps").glob("*.journal")
    return path.read_text()


def test_values_that_rule_each_other_out_are_a_failed_trial(calm: Search, tmp_path: Path) -> None:
    search = like(calm, tmp_path, 1, space=[Dimension("batch_size", ["2"]), Dimension("micro_batch", ["4"])])
    run_search(search, [], by(objective))
    record = read_trial(search.jobs()[0].folder)
    assert record
    assert record.end is TrialEnd.FAILED
    assert "micro_batch=4: must be at most batch_size, 2" in str(record.reason)


def test_an_error_of_the_machine_leaves_the_trial_to_the_same_command(calm: Search, tmp_path: Path) -> None:
    search = like(calm, tmp_path, trials=1)
    with pytest.raises(UserError, match="1 of 1 trials have not ended") as problem:
        run_search(search, [], by(failing(OSError(28, "No space left on device"))))
    assert "the disk is full" in str(problem.value)
    chosen = trials_of(search)[0][2]
    assert trials_of(search)[0][1] == "RUNNING"
    run_search(search, [], by(objective))
    assert trials_of(search) == [(0, "COMPLETE", chosen)]


def test_a_stopped_trial_says_so_and_its_journal_holds_numbers_and_keys_alone(calm: Search) -> None:
    rows = read_rows(calm.name, Path(calm.cfg.out))
    stopped = [row for row in rows if row.look.standing is RunStatus.STOPPED]
    assert stopped
    assert all("stopped after validation 1: lr=" in row.remark for row in stopped)
    assert "stopped  " in status_table(rows)
    assert f"{len(rows) - len(stopped)} tried, {len(stopped)} stopped" in summary(rows)
    assert calm.cfg.data.dir not in journal(calm)
    assert str(calm.cfg.out) not in journal(calm)


def test_a_trial_that_was_to_stop_does_so_after_a_kill(calm: Search, tmp_path: Path) -> None:
    search = like(calm, tmp_path)

    def task(folder: Path) -> int:
        def stubborn(cfg: TrainConfig, run_dir: Path, report: Report) -> Any:
            try:
                return objective(cfg, run_dir, report)
            except trial.TrialStopped:
                raise Killed from None

        try:
            run_trial(config_of(folder), folder, stubborn)
        except Killed:
            run_trial(config_of(folder), folder, failing(AssertionError("trained on")))
        return 0

    run_search(search, [], task)
    assert trials_of(search) == trials_of(calm)


@pytest.mark.parametrize("model", ["femto", "tfidf"])
def test_a_trial_never_scores_the_test(model: str, calm: Search, cohort: Path, tmp_path: Path) -> None:
    search = like(calm, tmp_path, 1)
    if model == "tfidf":
        search = asked(cohort, tmp_path, "model=tfidf", "seed=3,4", trials=1)
    run_search(search, [], lambda folder: work(folder, run_trial))
    (job,) = search.jobs()
    record = read_trial(job.folder)
    assert record
    assert record.metrics["accuracy"] == record.value
    assert record.steps == record.full_steps == (6 if model == "femto" else 0)
    assert not list(job.folder.glob("predictions*"))
    assert not any("test" in key for key in record.metrics)
    history = RunFolder(job.folder).history
    assert not history.exists() or "test/" not in history.read_text()
    if model == "femto":  # the plain command goes on to its test, and comes to what it would have without a search
        cfg = config_of(job.folder)
        train(cfg, job.folder)
        train(dataclasses.replace(cfg, name="plain"), tmp_path / "plain")
        finished = read_record(job.folder)
        assert finished.metrics == read_record(tmp_path / "plain").metrics
        assert finished.metrics["val/accuracy"] == record.value
        assert read_status(job.folder).standing is RunStatus.FINISHED


def composed(calm: Search, **parts: Any) -> Composed[TrainConfig]:
    """What a command line composes whose trials begin otherwise than those of a search."""
    point = Point([], dataclasses.replace(calm.cfg, **parts), calm.launcher)
    return Composed([], True, [point], [], dataclasses.asdict(calm.settings), calm.space)


def test_all_that_a_search_cannot_have_is_refused_at_once(calm: Search) -> None:
    callbacks = [{"class": "pytorch_lightning.callbacks.EarlyStopping"}]
    with pytest.raises(UserError) as problem:
        plan_search("s", composed(calm, name="x", devices=2, callbacks=callbacks, together=Together.AUTO))
    assert str(problem.value).splitlines()[1:] == [
        "  together=auto: trials of a search are chosen one by one; leave it out",
        "  callbacks: may end a trial behind the sampler's back; leave it out",
        "  name=x: the runs of a search get names of their own; leave it out",
        "  devices=2, nodes=1: a trial runs on one device; leave it out",
    ]


def test_what_a_system_does_not_read_is_left_out_of_its_search(
    calm: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    caml = dataclasses.replace(calm.cfg.model, kind=Kind.CAML, name="caml")
    assert [dimension.key for dimension in plan_search("s", composed(calm, model=caml)).space] == [
        "lr",
        "weight_decay",
        "warmup",
    ]
    assert "does not read head_lr, lora.r, lora.dropout; left out of the search" in capsys.readouterr().err
    tfidf = dataclasses.replace(caml, kind=Kind.TFIDF, name="tfidf")
    with pytest.raises(UserError, match="model=tfidf: reads none of lr, head_lr"):
        plan_search("s", composed(calm, model=tfidf))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"trials": 0}, "hydra.sweeper.trials=0: must be at least 1"),
        ({"halving": 1}, "hydra.sweeper.halving=1: must be at least 2 or null"),
        ({"metric": "f1"}, "metric=f1: must be one of accuracy, macro_f1"),
    ],
)
def test_the_settings_of_a_search_are_judged(values: dict[str, Any], problem: str) -> None:
    settings = {"kind": "search", "trials": 3, "metric": "accuracy", "halving": None, "params": {}}
    with pytest.raises(UserError, match=problem):
        to_schema(SearchConfig, settings | values)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("lrr=1,2", "lrr=1,2: there is no key lrr; did you mean lr?"),
        ("lr=interval(1,0)", "lr=interval(1,0): the second bound must be above the first"),
        ("lr=tag(log,interval(0,1))", "lr=tag(log,interval(0,1)): a logarithmic interval begins above 0"),
        ("loss=interval(0,1)", "loss=interval(0,1): loss is no number; write its values, loss=A,B"),
        ("lora.r=interval(0.5,4)", "lora.r=interval(0.5,4): must have whole bounds"),
        ("model=nano,pico", "model=nano,pico: names whole groups of keys; start a search for each model"),
        ("out=a,b", "out=a,b: says where trials lie, not what they are; a search has one"),
    ],
)
def test_a_word_that_no_space_can_have_is_refused(word: str, problem: str) -> None:
    assert space_of([word], dict(leaves(TrainConfig)), {"model": ["nano"]})[1] == [problem]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["lora.r=0,4", "max_len=64,9999"],
            r"lora.r=0: must be at least 1 \(in the cell lora.r=0\)\n.*max_len=9999: above the context of model=femto",
        ),
        (["lr=1e-3", "head_lr=1e-3", "weight_decay=0", "lora.r=4", "lora.dropout=0", "warmup=0"], "params: empty"),
    ],
)
def test_a_space_that_cannot_be_is_refused_before_a_trial_begins(
    words: list[str], problem: str, cohort: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=problem):
        asked(cohort, tmp_path, *words)


def test_a_search_is_a_multirun(cohort: Path) -> None:
    with pytest.raises(UserError, match="hydra/sweeper=search: is for multiruns; add -m"):
        compose_points(TrainConfig, read_command_line(["hydra/sweeper=search", f"data.dir={cohort}"], "train"))
    line = read_command_line(["-m", "hydra/sweeper=search", f"data.dir={cohort}", "lora.r=interval(4,64)"], "train")
    assert [str(dimension) for dimension in compose_points(TrainConfig, line).space] == ["lora.r: 4 to 64"]
    with pytest.raises(UserError, match=r"lr=interval\(0,1\): names no values to run"):
        compose_points(TrainConfig, read_command_line(["-m", "lr=interval(0,1)", f"data.dir={cohort}"], "train"))


def test_a_dry_run_says_what_is_tried_and_begins_nothing(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--config-dir", str(CONF.parent / "sweeps"), "--config-name", "search"]
    line = read_command_line([*flags, *typed(cohort, tmp_path / "out", "dry_run=true")], "train")
    launch(line, compose_points(TrainConfig, line), train)
    shown = capsys.readouterr().out
    assert "30 trials by TPE, 0 ended; successive halving by 3; the largest accuracy of validation notes" in shown
    assert "  lr: 1e-05 to 0.01 (log)\n" in shown
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").rglob("*.json*"))


def test_a_damaged_trial_record_is_told_and_the_trial_goes_on(calm: Search, tmp_path: Path) -> None:
    search = like(calm, tmp_path, trials=1)
    run_search(search, [], by(objective))
    folder = search.jobs()[0].folder
    RunFolder(folder).trial.write_text(json.dumps({"number": 0}))
    assert read_trial(folder) is None
    run_search(search, [], by(objective))
    assert read_trial(folder) == read_trial(calm.jobs()[0].folder)
