import torch

from src.tracking.guard import guarded
from src.training.ranks import ALONE
from src.training.throughput import ThroughputMeter


def stepped(window: ThroughputMeter, loss: float, notes: int) -> ThroughputMeter:
    window.add(torch.tensor(loss), torch.tensor(2 * loss), notes, tokens=100 * notes, wasted=25 * notes)
    return window


def test_a_row_is_the_mean_over_its_notes() -> None:
    row = stepped(stepped(ThroughputMeter("cpu"), 1.0, 8), 4.0, 4).tell(steps_left=0, ranks=ALONE)
    assert (row["train/loss"], row["train/grad_norm"], row["train/padding"]) == (2.0, 4.0, 0.2)
    assert row["train/seconds_left"] == 0
    assert row["train/memory_gib"] > 0.01
    assert row["train/cpu_percent"] > 0
    assert set(guarded(row)) == set(row)
    assert "train/gpu_percent" not in row, "a CPU is no GPU"


def test_few_notes_make_no_row_and_are_in_the_next() -> None:
    window = stepped(ThroughputMeter("cpu"), 3.0, 9)
    assert window.tell(1, ALONE) == {}
    assert stepped(window, 13.0, 1).tell(0, ALONE)["train/loss"] == 4.0
    assert window.tell(0, ALONE) == {}, "it began anew"


def test_a_window_goes_on_from_a_checkpoint() -> None:
    before, after = stepped(ThroughputMeter("cpu"), 0.1, 7), ThroughputMeter("cpu")
    after.load(before.state(ALONE), ALONE)
    rows = [stepped(each, 0.7, 5).tell(0, ALONE) for each in (before, after)]
    assert rows[0]["train/loss"] == rows[1]["train/loss"]
    assert rows[0]["train/grad_norm"] == rows[1]["train/grad_norm"]
