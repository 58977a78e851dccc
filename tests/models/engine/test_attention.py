"""When an attention counts as the same as note by note, and its kernel for CUDA on tensors that hold nothing."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from src.models.engine import attention
from src.models.engine.attention import TOLERANCE, Backend, attend, difference

CPU = torch.device("cpu")


class RoundedOnce(torch.autograd.Function):
    """Attention and its gradients in fp64, each rounded to the format of the queries once."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], options: dict[str, Any]) -> Tensor:
        ctx.inputs = [value.detach().double().requires_grad_() for value in (q, k, v)]
        with torch.enable_grad():
            ctx.attended = attend(*ctx.inputs, lengths, backend=Backend.NOTES, **options)
        attended: Tensor = ctx.attended.detach().to(q.dtype)
        return attended

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        gradients = torch.autograd.grad(ctx.attended, ctx.inputs, grad.double())
        return (*[gradient.to(grad.dtype) for gradient in gradients], None, None)


@pytest.fixture
def factor(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Lets a CPU's variable-length attention be exact, times a factor that a test may change."""
    factors = [1.0]

    def attended(
        q: Tensor, k: Tensor, v: Tensor, lengths: Sequence[int], *, backend: Backend, **options: Any
    ) -> Tensor:
        if backend is Backend.NOTES:
            return attend(q, k, v, lengths, backend=backend, **options)
        exact: Tensor = RoundedOnce.apply(q, k, v, lengths, options)
        return exact * factors[0]

    monkeypatch.setattr(attention, "attend", attended)
    return factors


@pytest.mark.parametrize("heads", [(32, 32), (40, 40), (32, 8)])
def test_an_attention_that_is_rounded_once_counts_as_the_same(factor: list[float], heads: tuple[int, int]) -> None:
    assert 0 < difference(Backend.VARLEN, CPU, torch.bfloat16, heads, 128) <= TOLERANCE
    assert 0 < difference(Backend.VARLEN, CPU, torch.bfloat16, heads, 128, 200) <= 2 * TOLERANCE


@pytest.mark.parametrize("wrong", [0.95, 0.0, float("nan"), float("inf")])
def test_an_attention_that_is_wrong_does_not(factor: list[float], wrong: float) -> None:
    factor[0] = wrong
    assert not difference(Backend.VARLEN, CPU, torch.bfloat16, (4, 4), 64) <= TOLERANCE


@pytest.mark.parametrize("ends", [False, True])
def test_torchs_variable_length_kernel_takes_our_arguments(ends: bool) -> None:
    lengths = (2, 3)
    shapes = [(len(lengths) if ends else sum(lengths), 4, 16), (sum(lengths), 2, 16), (sum(lengths), 2, 16)]
    q, k, v = (torch.empty(shape, device="meta", dtype=torch.bfloat16, requires_grad=True) for shape in shapes)
    attended = attend(q, k, v, lengths, scale=0.25, ends=ends, backend=Backend.VARLEN)
    assert attended.shape == q.shape
    gradients = torch.autograd.grad(attended, (q, k, v), torch.empty_like(attended))
    assert [gradient.shape for gradient in gradients] == [q.shape, k.shape, v.shape]
