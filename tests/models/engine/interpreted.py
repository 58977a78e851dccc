"""A program of its own: runs the kernels by Triton's interpreter, which works without a card.

    TRITON_INTERPRET=1 python -m tests.models.engine.interpreted

writes one JSON object: of each function here, why it failed; nothing where its claim holds. The variable must stand
before Triton is imported, so that no other process can do it.
"""

import json
import sys
import traceback
from dataclasses import replace

import torch
from torch import Tensor

from src.models.classifier import AdapterBatch, read_together
from src.models.engine import elementwise, kernels
from src.models.engine.dropout import Drops, KeyedDropout
from src.models.engine.packing import pack
from tests.models.engine.test_engine import EVERYWHERE, engine

CPU = torch.device("cpu")


def rows(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def noise(site: int, *levels: int, lengths: tuple[int, ...] = (3, 1, 5)) -> Drops:
    """Dropout of notes of some lengths, each with a level of its own; seeds and steps that fill their words."""
    words = [(2**62 + 11 * index, (123_456 << 32) + index, level) for index, level in enumerate(levels)]
    note = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    row = torch.cat([torch.arange(length) for length in lengths])
    return Drops(words, [(0, length) for length in lengths], torch.tensor(words), note, row, site)


def every_function_equals_torchs_operators() -> None:
    """In fp32 but for the order of sums, at widths that no power of two divides; and in bf16 but for its roundings."""
    for width in (72, 176, 1104):
        assert all(by <= 1e-6 for by in kernels.differences(CPU, torch.float32, width).values()), width
    wrong = {name: by for name, by in kernels.differences(CPU).items() if by > kernels.TOLERANCE}
    assert not wrong, wrong


def dropped_entries_are_the_masks_bit_for_bit() -> None:
    """In notes of several lengths, at several levels, in rows of one piece and of two."""
    for width in (7, 40, 1100):
        for site in (0, 131):
            drops = noise(site, 3277, 0, 2**15)
            expected = drops.mask(width)
            assert expected[:3].any()
            assert not expected[3].any()
            assert torch.equal(kernels.drop(torch.ones(9, width), drops) == 0, expected)
            assert torch.equal(kernels.add_kept_(torch.ones(9, width), rows(9, width) * 0 + 1, drops) == 1, expected)
            assert torch.equal(kernels.norm(rows(9, width), torch.ones(width), 1e-6, drops)[1] == 0, expected)


def the_last_rows_of_notes_drop_what_they_do_in_the_whole() -> None:
    """A pruned block's rows begin at no note's first."""
    whole = noise(5, 2**15, 2**14, 2**15)
    last = torch.tensor([2, 3, 8])
    ends = replace(whole, spans=[(2, 1), (0, 1), (4, 1)], note=whole.note[last], row=whole.row[last])
    assert torch.equal(ends.mask(50), whole.mask(50)[last])
    assert torch.equal(kernels.drop(torch.ones(3, 50), ends) == 0, whole.mask(50)[last])


def the_norm_and_its_gradient_equal_transformers() -> None:
    """With a dropped copy that is read too, and the residual's gradient."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    for width in (50, 176):
        theirs, drops = LlamaRMSNorm(width, eps=1e-5), noise(9, 2**15, 0, 2**14)
        theirs.weight.data = rows(width, seed=1)
        x, grad, through, onto = (rows(9, width, seed=seed) for seed in range(2, 6))
        normed, read, scale = kernels.norm(x, theirs.weight.data, 1e-5, drops)
        wanted = theirs(x.requires_grad_())
        kept = wanted.masked_fill(drops.mask(width), 0)
        (dx,) = torch.autograd.grad((wanted * grad).sum() + (kept * through).sum() + (x * onto).sum(), x)
        torch.testing.assert_close((normed, read), (wanted.detach(), kept.detach()), rtol=1e-6, atol=1e-6)
        ours = kernels.norm_backward(grad, through, drops, x.detach(), theirs.weight.data, scale, onto)
        torch.testing.assert_close(ours, dx, rtol=3e-6, atol=3e-6)


def the_norm_rounds_where_transformers_does() -> None:
    """In fp16, which the interpreter rounds as a card does (it cuts bf16 off): before the weight and after it."""
    x, weight = rows(9, 176).half(), rows(176, seed=1)
    for factors in (weight.half(), weight):
        ours, theirs = (functions.norm(x, factors, 1e-5, None)[0] for functions in (kernels, elementwise))
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs), float((ours - theirs).abs().max())


def without_dropout_nothing_is_copied() -> None:
    """The copy without dropped entries is the tensor itself, and every argument that may be None is."""
    x, weight, grad, through = rows(9, 50), rows(50, seed=1), rows(9, 50, seed=2), rows(9, 50, seed=3)
    normed, read, scale = kernels.norm(x, weight, 1e-5, None)
    assert read is normed
    assert kernels.drop(x, None) is x
    for more in (None, through):
        ours, theirs = (
            functions.norm_backward(grad.clone(), more, None, x, weight, scale, None)
            for functions in (kernels, elementwise)
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert torch.equal(kernels.add_kept_(grad.clone(), through, None), grad + through)


def views_of_any_stride_are_read_and_written_where_they_lie() -> None:
    """Merged columns, heads that attention turned, and gradients that are one number at every entry."""
    cos, sin = (rows(9, 6, seed=seed).repeat(1, 2) for seed in (1, 2))
    for heads in (1, 3, 18):
        whole = rows(9, 300)
        expected = whole.clone()
        kernels.rotate_(whole[:, 20:], cos, sin, heads, 12)
        elementwise.rotate_(expected[:, 20:], cos, sin, heads, 12)
        torch.testing.assert_close(whole, expected, rtol=1e-6, atol=1e-6)
    q, k, v = rows(4, 9, 12).transpose(0, 1), rows(9, 5, 12, seed=3)[:, 1:3], torch.ones(()).expand(9, 2, 12)
    for parts in ((q, k, v), (k[:, :0], k, v), (q, q[:, :0], q[:, :0]), (q.flip(2), v, k)):
        ours, theirs = (functions.rotate_back(*parts, cos, sin) for functions in (kernels, elementwise))
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    grad, drops, gate_up = torch.ones(()).expand(9, 40), noise(2, 2**15, 0, 2**15), rows(9, 100)[:, 10:90]
    assert torch.equal(kernels.drop(grad, drops) == 0, drops.mask(40))
    torch.testing.assert_close(kernels.gate(gate_up), elementwise.gate(gate_up), rtol=1e-6, atol=1e-6)
    ours, theirs = (functions.gate_backward(grad, gate_up) for functions in (kernels, elementwise))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def a_whole_step_has_the_loss_and_gradients_of_torchs_operators() -> None:
    """With a pruned last block and without, kept and computed again, with dropout and without."""
    made = engine(replace(EVERYWHERE, dropout=0.3), torch.float32)
    weights = list(made.trained().values())
    notes = pack([[5, 9, 200, 17, 3], [41], [7, 8, 9]])
    some, available = KeyedDropout(0.3, ((7, 3, 0), (7, 3, 1), (7, 3, 2))), kernels.available
    for given, prune, recompute in ((some, True, False), (some, False, True), (None, True, True)):
        results = []
        for fused in (False, True):
            kernels.available = lambda device, fused=fused: fused
            logits = read_together([AdapterBatch(made, notes, given)], prune=prune, recompute=recompute)[0]
            loss = logits.square().sum()
            results.append((loss.detach(), *torch.autograd.grad(loss, weights)))
        kernels.available = available
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-6 * float(theirs.abs().max()) + 1e-9)


CLAIMS = (
    every_function_equals_torchs_operators,
    dropped_entries_are_the_masks_bit_for_bit,
    the_last_rows_of_notes_drop_what_they_do_in_the_whole,
    the_norm_and_its_gradient_equal_transformers,
    the_norm_rounds_where_transformers_does,
    without_dropout_nothing_is_copied,
    views_of_any_stride_are_read_and_written_where_they_lie,
    a_whole_step_has_the_loss_and_gradients_of_torchs_operators,
)


def main() -> None:
    """Tries every claim."""
    torch.set_num_threads(1)
    results = {}
    for claim in CLAIMS:
        try:
            claim()
            results[claim.__name__] = ""
        except Exception:
            results[claim.__name__] = traceback.format_exc()
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
