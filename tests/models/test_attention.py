"""Attention's kernel for CUDA, without a card: on tensors that hold nothing."""

import pytest
import torch

from src.models.attention import Backend, attend


@pytest.mark.parametrize("ends", [False, True])
def test_torchs_variable_length_kernel_takes_our_arguments(ends: bool) -> None:
    lengths = (2, 3)
    shapes = [(len(lengths) if ends else sum(lengths), 4, 16), (sum(lengths), 2, 16), (sum(lengths), 2, 16)]
    q, k, v = (torch.empty(shape, device="meta", dtype=torch.bfloat16, requires_grad=True) for shape in shapes)
    attended = attend(q, k, v, lengths, scale=0.25, ends=ends, backend=Backend.VARLEN)
    assert attended.shape == q.shape
    gradients = torch.autograd.grad(attended, (q, k, v), torch.empty_like(attended))
    assert [gradient.shape for gradient in gradients] == [q.shape, k.shape, v.shape]
