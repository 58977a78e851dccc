"""Plans of runs whose notes nobody has read, as a sweep makes them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.cli.compose import compose, read_command_line
from src.cohort.split import Split
from src.config.choices import Precision
from src.config.train import TrainConfig
from src.estimates.flop import Parameters, count_parameters, scoring_flop, step_flop
from src.estimates.memory import GIB, PlannedRun, Setting, plan_steps, remedies, remedy
from src.estimates.time import START_S, STEP_S, Work, expected_work, run_seconds
from src.training.batches import Steps, TokenisedNotes


@pytest.fixture
def planned(cohort: Path) -> Callable[..., PlannedRun]:
    """A 7B run on a GPU."""

    def made(*words: str) -> PlannedRun:
        line = read_command_line(["model=llama7b", f"data.dir={cohort}", "max_len=1024", *words], "train")
        (cfg,) = compose(TrainConfig, line)
        return PlannedRun(cfg, count_parameters(cfg, 738), Precision.BF16, on_gpu=True)

    return made


def test_notes_that_nobody_read_are_taken_to_be_of_full_length(planned: Callable[..., PlannedRun]) -> None:
    run = planned()
    seen = PlannedRun(run.cfg, run.parameters, run.precision, True, lambda notes, max_len: notes * 1024)
    assert plan_steps([run], 80 * GIB) == plan_steps([seen], 80 * GIB)


def test_a_sweep_and_a_run_advise_the_same_change_first(planned: Callable[..., PlannedRun]) -> None:
    for free, words in [(12, ()), (15, ("micro_batch=4", "checkpointing=false")), (16, ("checkpointing=false",))]:
        run = planned(*words)
        assert not plan_steps([run], free * GIB).fits
        first = remedies(run, free * GIB).removeprefix("try ").split(", or ")[0]
        assert remedy(run, free * GIB).startswith(f"{first} would take about ")
    assert remedies(planned(), GIB).startswith("no setting fits; take a smaller model=")
    assert remedy(planned(), GIB) == "no smaller setting fits; take a smaller model or a larger device"


def test_devices_share_the_notes_of_a_step_and_a_spread_base(planned: Callable[..., PlannedRun]) -> None:
    single, pair, spread = (planned(*words) for words in ((), ("devices=2",), ("devices=2", "shard=true")))
    plans = [plan_steps([run], 80 * GIB) for run in (single, pair, spread)]
    assert [plan.setting for plan in plans] == [Setting(4, False), Setting(2, False), Setting(2, False)]
    assert plans[0].memory.base == plans[1].memory.base > 1.5 * plans[2].memory.base


@pytest.mark.parametrize(("epochs", "max_steps"), [(2, None), (3, 5), (3, 6), (1, 2), (2, 40)])
def test_the_work_of_a_run_is_that_of_its_steps(
    epochs: int, max_steps: int | None, planned: Callable[..., PlannedRun]
) -> None:
    cfg = planned(f"epochs={epochs}", f"max_steps={'null' if max_steps is None else max_steps}").cfg
    steps = Steps(TokenisedNotes([[1] * 50] * 10, [0] * 10), cfg.batch_size, epochs, max_steps, 0)
    lengths = {Split.TRAIN: np.full(10, 50), Split.VALIDATION: np.full(3, 20), Split.TEST: np.full(4, 30)}
    work = expected_work(cfg, lengths)
    assert work.steps == len(steps)
    assert work.scored == (steps.epoch(len(steps)) + 1) * 60 + 120
    assert work.trained == sum(len(steps.rows(step)) for step in range(len(steps))) * 50


def test_time_is_that_of_both_passes_and_on_a_cpu_of_what_stands_beside_them(
    planned: Callable[..., PlannedRun],
) -> None:
    cfg, parameters = planned().cfg, Parameters(7, 5, 3)
    model = cfg.model
    training = step_flop(model, parameters, 1000, recompute=True)
    assert training > step_flop(model, parameters, 1000, recompute=False) > scoring_flop(model, parameters, 1000)
    on_gpu, on_cpu = (
        run_seconds(cfg, parameters, Work(1000, 400, 30), 1e12, recompute=True, on_gpu=gpu) for gpu in (True, False)
    )
    assert on_gpu == pytest.approx((training + scoring_flop(model, parameters, 400)) / 1e12)
    assert on_cpu == pytest.approx(on_gpu + START_S + 30 * STEP_S)


def test_a_head_that_reads_means_takes_the_memory_and_time_of_a_whole_last_block(
    planned: Callable[..., PlannedRun],
) -> None:
    last, mean = planned(), planned("pooling=mean")
    layers = last.cfg.model.layers
    held = [run.memory(Setting(4, False)).activations for run in (last, mean)]
    assert 1 < held[1] / held[0] < layers / (layers - 1)
    seconds = [
        run_seconds(run.cfg, run.parameters, Work(1000, 400, 30), 1e12, recompute=False, on_gpu=True)
        for run in (last, mean)
    ]
    assert 1 < seconds[1] / seconds[0] < layers / (layers - 1)
