"""Answers what a run asks of its device, whatever its kind: which is its own, its memory, whether it is done."""

import os
import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from src.cli.errors import UserError


class DeviceTable:
    """Holds a small tensor on the host, and a copy of it on each device that asks for it."""

    def __init__(self, host: Tensor) -> None:
        self.host = host
        self._copies: dict[torch.device, Tensor] = {}

    def on(self, device: torch.device) -> Tensor:
        """Returns the copy on a device, sent once."""
        if device not in self._copies:
            with torch.inference_mode(False):  # training may go on with what a validation sent
                self._copies[device] = self.host.to(device)
        return self._copies[device]


def best_kind() -> str:
    """Names the kind of device that `device=auto` takes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def is_cpu(device: str | torch.device) -> bool:
    """Says whether a device is the processor, with the machine's own memory."""
    return torch.device(device).type == "cpu"


def own(device: str, local_rank: int = 0) -> str:
    """Names a device with its number: as it was given, or of this process among those of its machine.

    >>> own("cpu", 1), own("cuda", 1), own("cuda:0", 1)
    ('cpu', 'cuda:1', 'cuda:0')
    """
    return device if is_cpu(device) or ":" in device else f"{device}:{local_rank}"


def make_current(device: str) -> None:
    """Lets everything in this process that names no number mean this device.

    Raises:
        UserError: torch does not see it.
    """
    if is_cpu(device):
        return
    module, number = _module(device), torch.device(device).index or 0
    count = module.device_count() if module.is_available() else 0
    if number >= count:
        kind = torch.device(device).type
        raise UserError(
            f"device={device}: torch {torch.__version__} sees {count} of {kind}; write device=cpu, ask for fewer "
            "devices=, or install a torch for this machine's GPU and its driver"
        )
    module.set_device(torch.device(device))


def lacks_bf16(device: str) -> bool:
    """Says whether a device is a CUDA GPU that has no bf16 of its own, as all before Ampere."""
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return False
    with torch.cuda.device(torch.device(device)):
        return not torch.cuda.is_bf16_supported(including_emulation=False)


def free_bytes(device: str) -> float:
    """Counts the bytes that are free on a device."""
    if not is_cpu(device):
        return float(_module(device).mem_get_info(torch.device(device))[0])
    import psutil

    return float(psutil.virtual_memory().available)


def all_bytes(device: str) -> float:
    """Counts the bytes of memory of a device."""
    if not is_cpu(device):
        return float(_module(device).mem_get_info(torch.device(device))[1])
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def peak_bytes(device: str | torch.device) -> float | None:
    """Returns the most bytes that this process has held on a device at once; None of a CPU."""
    return None if is_cpu(device) else float(_module(device).max_memory_allocated(torch.device(device)))


def busy_percent(device: str | torch.device) -> float | None:
    """Returns in per cent how long a GPU computed lately; None of a CPU, and without `nvidia-ml-py`.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.cuda.utilization.html
    """
    if torch.device(device).type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(torch.device(device)))
    except Exception:  # no driver library, a part of a GPU, or whichever error the library has of its own
        return None


def free_unused(device: str) -> None:
    """Gives back what the allocator keeps for later."""
    if not is_cpu(device):
        _module(device).empty_cache()


def wait(device: str | torch.device) -> None:
    """Returns once the device has done what it was given."""
    if not is_cpu(device):
        _module(device).synchronize(torch.device(device))


def matrix_rate(rows: int, inputs: int, outputs: int, dtype: torch.dtype, device: str) -> float:
    """Measures the floating-point operations a second that a device reaches on a matrix product of this size."""
    # A GPU multiplies ones at a higher clock than random numbers: these take it less power.
    generator = torch.Generator(device).manual_seed(0)
    sizes = ((rows, inputs), (inputs, outputs))
    left, right = (torch.randn(size, dtype=dtype, device=device, generator=generator) for size in sizes)
    return 2.0 * rows * inputs * outputs / min(_seconds(left, right) for _ in range(8))


def _seconds(left: torch.Tensor, right: torch.Tensor) -> float:
    start = time.perf_counter()
    product = left @ right
    float(product[0, 0])  # waits for a GPU
    return time.perf_counter() - start


def same_randomness(device: str) -> AbstractContextManager[None]:
    """Puts the random numbers of the processor and of this one device back afterwards."""
    wanted = torch.device(device)
    if wanted.type in ("cpu", "meta"):
        return torch.random.fork_rng([])
    number = _module(device).current_device() if wanted.index is None else wanted.index
    return torch.random.fork_rng([number], device_type=wanted.type)


def _module(device: str | torch.device) -> Any:
    return torch.get_device_module(torch.device(device))
