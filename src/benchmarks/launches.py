"""Counts what a GPU would be asked for: kernels, views and waits, where no GPU is.

Every operator that torch dispatches is looked at, below autograd. Operators are counted as CUDA runs them: views and
allocations launch nothing, a product that is added to a matrix copies the matrix first, and an operator over a list of
tensors takes as many as its kernel's arguments hold.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALLOCATIONS = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize_", "set_")
VIEWS = ("_unsafe_view", "_reshape_alias", "detach", "detach_", "alias", "lift_fresh")
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2")

TENSORS_A_LAUNCH = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}
"""How many tensors of each list a kernel over that many lists takes at once (torch's MultiTensorApply.cuh)."""

ATTENTION = {"_flash_attention_backward": 4, "_scaled_dot_product_flash_attention_for_cpu_backward": 4}
"""Kernels of FlashAttention's gradient: output times gradient, and the gradient of queries, which is set to zero, added
up in fp32 and converted."""


class Launches(TorchDispatchMode):
    """Counts operators on one kind of device.

    Attributes:
        counts: `kernels`, `views`, `waits` for the device, and `copies` from the host.
        kinds: kernels by the operator's name.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.counts, self.kinds = device, Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs, output)) if isinstance(leaf, Tensor)]
        if any(tensor.device.type == self.device for tensor in tensors):
            if len({tensor.device.type for tensor in tensors if tensor.dim()}) > 1:
                self.counts["copies"] += 1
            elif name in WAITS:
                self.counts["waits"] += 1
            elif func.is_view or name in VIEWS:
                self.counts["views"] += 1
            elif name not in ALLOCATIONS:
                self.add(name, kernels_of(name, args))
        return output

    def add(self, name: str, kernels: int = 1) -> None:
        """Counts kernels of an operator."""
        self.counts["kernels"] += kernels
        self.kinds[name] += kernels


def kernels_of(name: str, args: Sequence[Any]) -> int:
    """Counts the kernels that CUDA runs for an operator.

    >>> two = [Tensor(2)] * 65
    >>> kernels_of("mul", two[:2]), kernels_of("_foreach_add_", [two, two]), kernels_of("addmm", [Tensor(2, 2)])
    (1, 2, 2)
    """
    if name.startswith(("_foreach_", "_fused_adam")):
        lists = [arg for arg in args if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Tensor)]
        return -(-len(lists[0]) // TENSORS_A_LAUNCH[min(len(lists), 5)])
    if name in ATTENTION:
        return ATTENTION[name]
    # A vector is added by the product itself; so is what is written in place, and what beta=0 leaves out.
    return 2 if name in ("addmm", "baddbmm") and args[0].dim() > 1 and args[0].numel() > 1 else 1


@contextmanager
def launcher(capability: int = 90) -> Iterator[Counter[str]]:
    """Lets Triton compile for a card of some compute capability, and counts each launch instead of making it.

    Counts are by the kernels' names. What the kernels would have written is left as it was.

    Args:
        capability: 90 for an H100.

    Raises:
        ImportError: Triton is not installed.
    """
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    counts = Counter[str]()

    class Counted:
        def __init__(self, source: Any, metadata: Any) -> None:
            self.name = str(source.fn.__name__)

        def __call__(self, *args: Any) -> None:
            counts[self.name] += 1

    class Utils:
        def load_binary(self, *args: Any) -> tuple[int, int, int, int, int]:
            return 1, 1, 32, 0, 1024

        def unload_module(self, module: int) -> None: ...

        def get_device_properties(self, device: int) -> dict[str, int]:
            return {"max_shared_mem": 232448, "multiprocessor_count": 132}

    class NoDriver:
        launcher_cls, utils = Counted, Utils()

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int) -> int:
            return 0

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", capability, 32)

    before = driver._active
    _forget_compiled()
    driver.set_active(NoDriver())
    try:
        yield counts
    finally:
        _forget_compiled()  # or a real launch would be counted too, and left out
        driver._active = before


def _forget_compiled() -> None:
    """Lets every kernel be compiled, or read from Triton's cache, for the driver of the moment."""
    from src.models.engine import triton_kernels

    for kernel in vars(triton_kernels).values():
        if hasattr(kernel, "device_caches"):
            kernel.device_caches.clear()
