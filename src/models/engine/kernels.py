"""Computes what `elementwise.py` does by one kernel each, for CUDA.

No mask of dropout is kept: `drops` is what it is drawn from, and every kernel that needs it draws it again, the same
bits as on a CPU and on every card. Kernels are compiled for the card when they are first used and kept in Triton's
cache; none is compiled again for another number of rows.
Shapes: T rows, h width of a row, H query heads, G key-value heads, D head width, I inner width.
"""

import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor

from src.models.engine import elementwise
from src.models.engine.dropout import BLOCK, Drops

TOLERANCE = 2e-2
"""Largest difference from torch's operators in bf16, as a share of one plus the value: they round a few times more."""

PIECE = 1024
"""Entries of a row that a program works on where it need not see all: 11,008 and 13,824 waste 2 and 4 % of it."""

HEADS = 16
"""Heads that a program turns."""


@cache
def available(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Tries once whether the kernels work on a device in a format; one line on standard error says what did not."""
    if device.type != "cuda":
        return False
    try:
        wrong = [
            f"{name} differs by {by:.1e}" for name, by in differences(device, dtype).items() if not by <= TOLERANCE
        ]
    except Exception as error:  # no Triton, no compiler, an old card: whatever it is, torch's operators do it
        first_line = str(error).strip().partition("\n")[0][:120]
        wrong = [f"{type(error).__name__}: {first_line}"]
    if wrong:
        print(f"kernels: torch's own operators, as fused kernels fail here ({'; '.join(wrong)})", file=sys.stderr)
    return not wrong


def differences(device: torch.device, dtype: torch.dtype = torch.bfloat16, width: int = 176) -> dict[str, float]:
    """Measures how far each function's results are from those of torch's operators, as a share of 1 + value."""
    ours, theirs = (_tried(functions, device, dtype, width) for functions in (sys.modules[__name__], elementwise))
    worst = {}
    for name, results in ours.items():
        pairs = [(result.double(), expected.double()) for result, expected in zip(results, theirs[name], strict=True)]
        shares = [((result - expected).abs() / (1 + expected.abs())).max() for result, expected in pairs]
        worst[name] = float(torch.stack(shares).max())  # of Python's max, what is no number could go unseen
    return worst


def _tried(functions: Any, device: torch.device, dtype: torch.dtype, width: int) -> dict[str, list[Tensor]]:
    """Returns what each function gives for a few rows of two notes; a head's width is a fourth of `width`."""
    generator = torch.Generator().manual_seed(0)

    def rows(*shape: int) -> Tensor:
        return torch.randn(5, *shape, generator=generator).to(device, dtype)

    words = [(7, 1 << 32, 2**15), (7, (1 << 32) + 1, 2**14)]
    keys, note, row = (torch.tensor(given, device=device) for given in (words, [0, 0, 0, 1, 1], [0, 1, 2, 0, 1]))
    drops = functions.draw(Drops(words, [(0, 3), (0, 2)], keys, note, row, site=3), width)
    x, grad, through, onto, gate_up = (*(rows(width) for _ in range(4)), rows(2 * width))
    weight, angles, head = rows(width)[0], rows(width // 8).repeat(1, 2), width // 8 * 2
    cos, sin, merged = angles.cos(), angles.sin(), gate_up.clone()
    norm = list(functions.norm(x, weight, 1e-5, drops))
    functions.rotate_(merged, cos, sin, 3, head)
    return {
        "norm": norm,
        "norm_backward": [functions.norm_backward(grad.clone(), through, drops, x, weight, norm[-1], onto)],
        "drop": [functions.drop(x, drops)],
        "add_kept_": [functions.add_kept_(grad.clone(), through, drops)],
        "rotate_": [merged],
        "rotate_back": [functions.rotate_back(rows(2, head), rows(1, head), rows(1, head), cos, sin)],
        "gate": [functions.gate(gate_up)],
        "gate_backward": [functions.gate_backward(grad, gate_up)],
    }


def draw(drops: Drops | None, width: int) -> Drops | None:
    """Returns what the kernels draw dropped entries from: `drops` itself."""
    return drops


def norm(x: Tensor, weight: Tensor, epsilon: float, drops: Drops | None) -> tuple[Tensor, Tensor, Tensor]:
    """Computes transformers' RMSNorm: normed rows, the same with dropped entries zero, and the scale [T, 1] in fp32."""
    x, (count, width) = _rows(x), x.shape
    normed = x.new_empty(count, width, dtype=torch.promote_types(x.dtype, weight.dtype))
    read, scale = normed if drops is None else torch.empty_like(normed), x.new_empty(count, 1, dtype=torch.float32)
    *drawn, site = _drawn(drops)
    args = (normed, read, scale, x, weight, *drawn, x.stride(0), width, epsilon, site)
    _launch("norm", (count,), x, args, **_whole(width))
    return normed, read, scale


def norm_backward(
    grad: Tensor, through: Tensor | None, drops: Drops | None, x: Tensor, weight: Tensor, scale: Tensor,
    onto: Tensor | None,
) -> Tensor:  # fmt: skip
    """Computes the gradient of `x`, as in `elementwise`; `grad` stays as it is."""
    (count, width), dx = x.shape, torch.empty_like(x, memory_format=torch.contiguous_format)
    grad, through, x, onto = _rows(grad), _rows(through), _rows(x), _rows(onto)
    *drawn, site = _drawn(None if through is None else drops)
    strides = [0 if rows is None else rows.stride(0) for rows in (grad, through, x, onto)]
    args = (dx, grad, through, x, weight, scale, onto, *drawn, *strides, width, site)
    _launch("norm_backward", (count,), x, args, **_whole(width))
    return dx


def drop(x: Tensor, drops: Drops | None) -> Tensor:
    """Returns `x` with dropped entries zero; `x` itself where none is."""
    if drops is None:
        return x
    x, (count, width), (*drawn, site) = _rows(x), x.shape, _drawn(drops)
    out = x.new_empty(count, width)
    args = (out, x, *drawn, x.stride(0), width, site)
    _launch("drop", (count, -(-width // PIECE)), x, args, BLOCK=PIECE, num_warps=2)
    return out


def add_kept_(out: Tensor, through: Tensor, drops: Drops | None) -> Tensor:
    """Adds to `out` the entries of `through` that were not dropped, in place; the entries of a row lie side by side."""
    if drops is None:
        return out.add_(through)
    through, (count, width), (*drawn, site) = _rows(through), out.shape, _drawn(drops)
    args = (out, through, *drawn, out.stride(0), through.stride(0), width, site)
    _launch("add_kept", (count, -(-width // PIECE)), out, args, BLOCK=PIECE, num_warps=2)
    return out


def rotate_(merged: Tensor, cos: Tensor, sin: Tensor, heads: int, width: int) -> None:
    """Turns the first `heads` times `width` columns of `merged` [T, any], which lie side by side, in place."""
    cos, sin = _rows(cos), _rows(sin)
    args = (merged, cos, sin, merged.stride(0), cos.stride(0), sin.stride(0), heads, width // 2)
    _launch("rotate", (len(merged), -(-heads // HEADS)), merged, args, **_halves(width))


def rotate_back(dq: Tensor, dk: Tensor, dv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns back gradients of queries [T, H, D], keys and values [T, G, D], and joins them to [T, (H + 2 G) D].

    H or G may be zero, and strides any.
    """
    (count, queries, width), keys = dq.shape, dk.shape[1]
    heads, cos, sin = queries + 2 * keys, _rows(cos), _rows(sin)
    merged = dq.new_empty(count, heads * width)
    strides = [stride for part in (dq, dk, dv) for stride in part.stride()]
    args = (merged, dq, dk, dv, cos, sin, *strides, cos.stride(0), sin.stride(0), queries, keys, width // 2)
    _launch("rotate_back", (count, -(-heads // HEADS)), dq, args, **_halves(width))
    return merged


def gate(gate_up: Tensor) -> Tensor:
    """Computes silu(gate) * up of both side by side, [T, 2 I] to [T, I]."""
    gate_up, (count, width) = _rows(gate_up), (len(gate_up), gate_up.shape[1] // 2)
    gated = gate_up.new_empty(count, width)
    args = (gated, gate_up, gate_up.stride(0), width)
    _launch("gate", (count, -(-width // PIECE)), gate_up, args, BLOCK=PIECE, num_warps=4)
    return gated


def gate_backward(grad: Tensor, gate_up: Tensor) -> Tensor:
    """Computes the gradient of `gate_up` [T, 2 I] from that of `gate`'s result; silu is computed again, not kept."""
    grad, gate_up, (count, width) = _rows(grad), _rows(gate_up), grad.shape
    both = gate_up.new_empty(count, 2 * width)
    args = (both, grad, gate_up, grad.stride(0), gate_up.stride(0), width)
    _launch("gate_backward", (count, -(-width // PIECE)), gate_up, args, BLOCK=PIECE, num_warps=4)
    return both


def _launch(name: str, grid: tuple[int, ...], x: Tensor, args: tuple[Any, ...], **options: int) -> None:
    """Runs a kernel on the device of `x`; Triton itself takes the current one, whatever the tensors' is."""
    if 0 in grid:
        return
    kernel = getattr(_triton(), name)[grid]
    if x.is_cuda and x.device.index != torch.cuda.current_device():
        with torch.cuda.device(x.device):
            kernel(*args, **options)
    else:
        kernel(*args, **options)


@cache
def _triton() -> Any:
    from src.models.engine import triton_kernels

    return triton_kernels


def _rows(x: Any) -> Any:
    """Returns `x` with the entries of each row side by side, whatever the rows' stride; None for None."""
    return x if x is None or x.stride(-1) == 1 else x.contiguous()


def _drawn(drops: Drops | None) -> tuple[Any, Any, Any, int]:
    return (None, None, None, 0) if drops is None else (drops.keys, drops.note, drops.row, drops.site)


@cache
def _whole(width: int) -> dict[str, int]:
    """Gives a program to a whole row, and a thread to each counter of its random bits."""
    block = max(32, 1 << (width - 1).bit_length())
    return {"BLOCK": block, "num_warps": min(max(block // (32 * BLOCK), 1), 16)}


@cache
def _halves(width: int) -> dict[str, int]:
    return {"HEADS": HEADS, "HALF": 1 << (width // 2 - 1).bit_length(), "num_warps": 4}
