from pathlib import Path

import pytest

from src.cli.compose import compose, read_command_line
from src.config.train import TrainConfig
from src.display.published import PUBLISHED, published, sampling_interval
from src.estimates.flop import count_parameters


@pytest.mark.parametrize("model", ["llama7b", "llama13b"])
def test_published_parameters_are_those_that_a_record_counts(model: str, tmp_path: Path) -> None:
    (tmp_path / "cohort.json").write_text("{}", "utf-8")
    line = read_command_line([f"model={model}", f"data.dir={tmp_path}"], "train")
    (cfg,) = compose(TrainConfig, line)
    rows = [row for row in PUBLISHED if row.model == model]
    assert rows
    assert {row.params for row in rows} == {count_parameters(cfg, 738).base}


def test_derived_figures_follow_from_the_published_ratios() -> None:
    (seven,) = [row for row in published("llama7b", "single") if row.max_len == 512]
    for model, more in (("clinicalbert", 1.403), ("caml", 1.357)):
        (row,) = [row for row in published(model, "single") if row.derived]
        assert row.metrics["test/macro_f1"] == round(seven.metrics["test/macro_f1"] / more, 3)


def test_every_figure_is_a_share_and_names_its_source() -> None:
    for row in PUBLISHED:
        assert row.metrics
        assert row.source
        assert all(0 < value < 1 for value in row.metrics.values())


def test_the_sampling_interval_of_the_papers_accuracy_is_six_tenths_of_a_point() -> None:
    low, high = sampling_interval(0.520)
    assert (high - low) / 2 == pytest.approx(0.006, abs=1e-4)
