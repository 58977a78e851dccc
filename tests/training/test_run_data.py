import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from src.benchmarks.fixtures import small_model
from src.cli.compose import compose, read_command_line, to_schema
from src.cli.errors import UserError
from src.cohort.split import Split
from src.config.choices import Precision
from src.config.train import LoraConfig, TrainConfig
from src.models.bases import load_base
from src.models.classifier import with_adapters
from src.training.run_data import RunData, keep_order, open_data, pick_device
from src.training.scoring import check_device

TORCHRUN = {"TORCHELASTIC_RUN_ID": "one", "WORLD_SIZE": "2", "GROUP_RANK": "0", "RANK": "1"}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}


def test_deterministic_operators_are_a_choice_of_the_run(cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    free, held = (
        compose(TrainConfig, read_command_line([f"data.dir={cohort}", "device=cpu", word], "train"))[0]
        for word in ("deterministic=false", "deterministic=true")
    )
    try:
        assert open_data(held).device == "cpu"
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert open_data(free).device == "cpu"
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        keep_order(free)


def test_a_record_of_before_the_key_opens_again(cohort: Path) -> None:
    cfg = compose(TrainConfig, read_command_line([f"data.dir={cohort}"], "train"))[0]
    before = {name: value for name, value in dataclasses.asdict(cfg).items() if name != "deterministic"}
    assert to_schema(TrainConfig, before) == cfg


@pytest.mark.parametrize(
    ("words", "environment", "device"),
    [
        (["device=cuda"], {"LOCAL_RANK": "1"}, "cuda:0"),
        (["device=cuda:1"], {}, "cuda:1"),
        (["device=cuda", "devices=2"], {}, "cuda:0"),
        (["device=cuda", "devices=2"], {"LOCAL_RANK": "1"}, "cuda:1"),
        (["device=cuda", "devices=2"], {**TORCHRUN, "LOCAL_RANK": "1"}, "cuda:1"),
        (["device=cuda", "devices=2", "nodes=2"], {**SLURM, "SLURM_LOCALID": "1", "SLURM_PROCID": "3"}, "cuda:1"),
        (["device=cpu", "devices=2"], {"LOCAL_RANK": "1"}, "cpu"),
    ],
)
@pytest.mark.filterwarnings("ignore:The `srun` command is available")
def test_every_process_of_a_machine_has_a_gpu_of_its_own(
    words: list[str], environment: dict[str, str], device: str, cohort: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_RANK", *TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cfg = compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))[0]
    assert pick_device(cfg) == device


def test_a_classifier_that_lies_elsewhere_does_not_score() -> None:
    base = load_base(small_model(64, 1), Precision.FP32, "cpu")
    classifier = with_adapters(base, LoraConfig(2, 4, 0.0, ["q_proj"]), 5, "cpu")
    check_device(classifier, "cpu")
    with pytest.raises(RuntimeError, match="of the classifier lies on cpu, and its session is on cuda:0"):
        check_device(classifier, "cuda:0")


def opened(cohort: Path, *words: str) -> RunData:
    return open_data(compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))[0])


def test_a_run_counts_the_training_notes_that_it_reads_and_validates_by_cross_entropy(cohort: Path) -> None:
    data = opened(cohort, "loss=logit_adjusted", "loss_strength=0.5", "data.limit=90")
    counts = np.bincount(data.targets(Split.TRAIN), minlength=757)
    assert counts.sum() == 90
    logits, drg = torch.randn(3, 757, generator=torch.Generator().manual_seed(5)), torch.tensor([1, 50, 600])
    shifted = logits + torch.tensor(0.5 * np.log(counts.clip(1) / 90), dtype=torch.float32)
    assert torch.allclose(data.scheme.loss(logits, drg), cross_entropy(shifted, drg))
    assert torch.equal(data.validation_scheme.loss(logits, drg), cross_entropy(logits, drg))
    plain = opened(cohort, "data.limit=90")
    assert torch.equal(plain.scheme.loss(logits, drg), cross_entropy(logits, drg))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss_strength=2"], "loss_strength=2.0: loss=cross_entropy has none; leave loss_strength out"),
        (
            ["loss=balanced_softmax", "loss_strength=1"],
            "loss_strength=1.0: loss=balanced_softmax has none; write loss=logit_adjusted",
        ),
        (["loss=label_smoothing", "loss_strength=1"], "loss_strength=1.0: must be at least 0, and below 1 for"),
        (["loss=focal", "loss_strength=-1"], "loss_strength=-1.0: must be at least 0"),
    ],
)
def test_a_strength_that_a_loss_cannot_have_is_refused(words: list[str], message: str, cohort: Path) -> None:
    with pytest.raises(UserError, match=message):
        opened(cohort, *words)
