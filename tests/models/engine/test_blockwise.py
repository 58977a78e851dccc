"""Attention by blocks of queries against torch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from src.models.engine import blockwise
from src.models.engine.attention import Backend, attend
from src.models.engine.blockwise import LONGEST, SHORTEST, attend_blockwise, pays


def drawn(length: int, heads: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(length)
    q, k, v = (torch.randn(length, heads, 16, dtype=torch.float64, requires_grad=True) for _ in range(3))
    return q, k, v


@pytest.mark.parametrize("scores", [1, 64 * 300, 2**18], ids=["one head", "some heads", "all heads"])
@pytest.mark.parametrize("length", [1, 64, 65, 330])
def test_values_and_gradients_are_those_of_torch(length: int, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "SCORES", scores)
    q, k, v = drawn(length)
    ours = attend_blockwise(q, k, v, 0.3)
    by_head = (each.transpose(0, 1)[None] for each in (q, k, v))
    theirs = scaled_dot_product_attention(*by_head, is_causal=True, scale=0.3)[0].transpose(0, 1)
    back = torch.randn_like(ours)
    assert torch.allclose(ours, theirs, atol=1e-12)
    grads = zip(torch.autograd.grad(ours, (q, k, v), back), torch.autograd.grad(theirs, (q, k, v), back), strict=True)
    assert all(torch.allclose(mine, its, atol=1e-12) for mine, its in grads)


def test_a_neighbour_of_a_length_done_by_blocks_changes_nothing() -> None:
    lengths = (SHORTEST, SHORTEST + 100)
    q, k, v = (each.detach() for each in drawn(sum(lengths)))
    assert pays(q[:SHORTEST], k[:SHORTEST])
    how = {"scale": 0.25, "ends": False, "backend": Backend.NOTES}
    before = attend(q, k, v, lengths, **how)  # type: ignore[arg-type]
    for each in (q, k, v):
        each[:SHORTEST] = 100
    after = attend(q, k, v, lengths, **how)  # type: ignore[arg-type]
    assert torch.equal(before[SHORTEST:], after[SHORTEST:])
    assert not torch.equal(before[:SHORTEST], after[:SHORTEST])


@pytest.mark.parametrize("length", [SHORTEST - 1, LONGEST + 1])
def test_other_lengths_shared_keys_and_half_precision_are_left_to_torch(length: int) -> None:
    q, k, _ = drawn(length)
    assert not pays(q, k)
    q, k, _ = drawn(SHORTEST)
    assert pays(q, k)
    assert not pays(q, k[:, :1])
    assert not pays(q.bfloat16(), k.bfloat16())
