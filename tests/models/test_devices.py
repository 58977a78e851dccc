import pytest
import torch

from src.cli.errors import UserError
from src.models import devices


def test_a_cpu_has_memory_and_nothing_to_wait_for() -> None:
    devices.make_current("cpu")
    devices.wait("cpu")
    devices.free_unused("cpu")
    assert devices.peak_bytes("cpu") is None
    assert 0 < devices.free_bytes("cpu") <= devices.all_bytes("cpu")


@pytest.mark.parametrize("number", [None, 99])
def test_a_gpu_that_torch_does_not_see_is_refused(number: int | None) -> None:
    if number is None and torch.cuda.is_available():
        pytest.skip("torch sees a GPU here")
    name = devices.own("cuda", number or 0)
    with pytest.raises(UserError, match=rf"device={name}: torch \S+ sees \d+ of cuda; write device=cpu"):
        devices.make_current(name)


def test_making_random_weights_leaves_the_random_numbers_as_they_are() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with devices.same_randomness("cpu"):
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)
