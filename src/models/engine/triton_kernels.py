"""Holds the kernels of `kernels.py` in Triton, which must be installed: imported only where they run.

All compute in fp32 and round once, but where transformers rounds in between. A program works on one row or a piece of
one; of each row a stride is given, and its entries lie side by side. Rows are counted in 64 bits: a long evaluation's
tensors have more than 2^31 entries.
"""

import triton
import triton.language as tl


@triton.jit
def drawn(keys, note, row, site, index, start, width, BLOCK: tl.constexpr):
    """Says whether BLOCK entries from the `start`-th of row `index` are dropped, as `Drops.mask` says.

    A counter gives four words of 64 bits, of which each decides four entries: give a program BLOCK / 16 threads.
    """
    # Philox4x64 (Salmon et al. 2011), as numpy has it: the factors of a round, and what the words of the key grow by.
    # As globals they would be compared at every launch.
    FACTOR_0: tl.constexpr = 0xD2E7470EE14C6C93
    FACTOR_1: tl.constexpr = 0xCA5A826395121157
    GROWTH_0: tl.constexpr = 0x9E3779B97F4A7C15
    GROWTH_1: tl.constexpr = 0xBB67AE8584CAA73B
    COUNTERS: tl.constexpr = BLOCK // 16
    key = keys + 3 * tl.load(note + index)
    key_0, key_1, level = tl.load(key).to(tl.uint64), tl.load(key + 1).to(tl.uint64), tl.load(key + 2).to(tl.int32)
    # numpy counts one up before it draws.
    first = tl.load(row + index) * ((width + 15) // 16) + start // 16 + 1
    zeros = tl.zeros((COUNTERS,), tl.uint64)
    word_0, word_1 = (first + tl.arange(0, COUNTERS)).to(tl.uint64), zeros + site.to(tl.uint64)
    word_2, word_3 = zeros, zeros
    for _ in tl.static_range(10):
        high_0, low_0 = tl.umulhi(word_0, zeros + FACTOR_0), word_0 * FACTOR_0
        high_1, low_1 = tl.umulhi(word_2, zeros + FACTOR_1), word_2 * FACTOR_1
        word_0, word_1, word_2, word_3 = high_1 ^ word_1 ^ key_0, low_1, high_0 ^ word_3 ^ key_1, low_0
        key_0, key_1 = key_0 + GROWTH_0, key_1 + GROWTH_1
    words = tl.reshape(tl.join(tl.join(word_0, word_2), tl.join(word_1, word_3)), (COUNTERS, 4))
    bits = (words[:, :, None] >> (tl.arange(0, 4) * 16).to(tl.uint64)[None, None, :]).to(tl.int32) & 0xFFFF
    return tl.reshape(bits < level, (BLOCK,))


@triton.jit(do_not_specialize=["site"])
def norm(normed, read, scale, x, weight, keys, note, row, stride, width, epsilon, site, BLOCK: tl.constexpr):
    """Normalises a row by RMSNorm, rounded before the weight as in transformers; `keys` may be None."""
    index, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = columns < width
    loaded = tl.load(x + index * stride + columns, mask=inside, other=0.0)
    by = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    wide = loaded.to(tl.float32)
    factor = tl.rsqrt(tl.sum(wide * wide, 0) / width + epsilon)
    tl.store(scale + index, factor)
    value = (wide * factor).to(loaded.dtype).to(tl.float32) * by
    tl.store(normed + index * width + columns, value, mask=inside)
    if keys is not None:
        kept = tl.where(drawn(keys, note, row, site, index, 0, width, BLOCK), 0.0, value)
        tl.store(read + index * width + columns, kept, mask=inside)


@triton.jit(do_not_specialize=["site"])
def norm_backward(
    dx, grad, through, x, weight, scale, onto, keys, note, row, grad_stride, through_stride, x_stride, onto_stride,
    width, site, BLOCK: tl.constexpr,
):  # fmt: skip
    """Computes the gradient of a row that `norm` read; `through`, `onto` and `keys` may be None."""
    index, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = columns < width
    back = tl.load(grad + index * grad_stride + columns, mask=inside, other=0.0).to(tl.float32)
    wide = tl.load(x + index * x_stride + columns, mask=inside, other=0.0).to(tl.float32)
    by, factor = tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32), tl.load(scale + index)
    if through is not None:
        more = tl.load(through + index * through_stride + columns, mask=inside, other=0.0).to(tl.float32)
        if keys is not None:
            more = tl.where(drawn(keys, note, row, site, index, 0, width, BLOCK), 0.0, more)
        back += more
    back *= by
    slope = tl.sum(back * wide, 0) * factor * factor * factor / width
    back = back * factor - wide * slope
    if onto is not None:
        back += tl.load(onto + index * onto_stride + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(dx + index * width + columns, back, mask=inside)


@triton.jit(do_not_specialize=["site"])
def drop(out, x, keys, note, row, stride, width, site, BLOCK: tl.constexpr):
    """Copies a piece of a row, its dropped entries zero."""
    index, start = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK
    columns = start + tl.arange(0, BLOCK)
    inside = columns < width
    loaded = tl.load(x + index * stride + columns, mask=inside, other=0.0)
    kept = tl.where(drawn(keys, note, row, site, index, start, width, BLOCK), 0.0, loaded)
    tl.store(out + index * width + columns, kept, mask=inside)


@triton.jit(do_not_specialize=["site"])
def add_kept(out, through, keys, note, row, out_stride, stride, width, site, BLOCK: tl.constexpr):
    """Adds to a piece of a row the entries of `through` that were not dropped."""
    index, start = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK
    columns = start + tl.arange(0, BLOCK)
    inside = columns < width
    sums = tl.load(out + index * out_stride + columns, mask=inside, other=0.0).to(tl.float32)
    more = tl.load(through + index * stride + columns, mask=inside, other=0.0).to(tl.float32)
    sums += tl.where(drawn(keys, note, row, site, index, start, width, BLOCK), 0.0, more)
    tl.store(out + index * out_stride + columns, sums, mask=inside)


@triton.jit(do_not_specialize=["heads"])
def rotate(merged, cos, sin, stride, cos_stride, sin_stride, heads, half, HEADS: tl.constexpr, HALF: tl.constexpr):
    """Turns HEADS heads of a row in place; a head is two halves side by side."""
    index, lanes = tl.program_id(0).to(tl.int64), tl.arange(0, HALF)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    c = tl.load(cos + index * cos_stride + lanes, mask=lanes < half, other=0.0).to(tl.float32)[None, :]
    s = tl.load(sin + index * sin_stride + lanes, mask=lanes < half, other=0.0).to(tl.float32)[None, :]
    here = merged + index * stride + head[:, None] * (2 * half) + lanes[None, :]
    inside = (head < heads)[:, None] & (lanes < half)[None, :]
    first, second = tl.load(here, mask=inside).to(tl.float32), tl.load(here + half, mask=inside).to(tl.float32)
    tl.store(here, first * c - second * s, mask=inside)
    tl.store(here + half, second * c + first * s, mask=inside)


@triton.jit
def halves(x, index, head, lanes, half, row_stride, head_stride, stride, inside):
    """Loads both halves of some heads of a row in fp32; zeros where not `inside`, which is not read."""
    here = x + index * row_stride + head.to(tl.int64)[:, None] * head_stride + lanes[None, :] * stride
    first, second = tl.load(here, mask=inside, other=0.0), tl.load(here + half * stride, mask=inside, other=0.0)
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit(do_not_specialize=["queries", "keys"])
def rotate_back(
    merged, dq, dk, dv, cos, sin, q_row, q_head, q_stride, k_row, k_head, k_stride, v_row, v_head, v_stride,
    cos_stride, sin_stride, queries, keys, half, HEADS: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Turns back the gradients of HEADS heads of a row, of which values are only copied."""
    index, lanes = tl.program_id(0).to(tl.int64), tl.arange(0, HALF)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    turned, total = queries + keys, queries + 2 * keys
    c = tl.load(cos + index * cos_stride + lanes, mask=lanes < half, other=0.0).to(tl.float32)[None, :]
    s = tl.load(sin + index * sin_stride + lanes, mask=lanes < half, other=0.0).to(tl.float32)[None, :]
    c, s = tl.where((head < turned)[:, None], c, 1.0), tl.where((head < turned)[:, None], s, 0.0)
    inside = (lanes < half)[None, :]
    of_q = (head < queries)[:, None] & inside
    of_k = ((head >= queries) & (head < turned))[:, None] & inside
    of_v = ((head >= turned) & (head < total))[:, None] & inside
    # Each head is read from one of the three, and zeros from the others.
    first, second = halves(dq, index, head, lanes, half, q_row, q_head, q_stride, of_q)
    first_k, second_k = halves(dk, index, head - queries, lanes, half, k_row, k_head, k_stride, of_k)
    first_v, second_v = halves(dv, index, head - turned, lanes, half, v_row, v_head, v_stride, of_v)
    first, second = first + first_k + first_v, second + second_k + second_v
    here = merged + index * total * (2 * half) + head[:, None] * (2 * half) + lanes[None, :]
    inside &= (head < total)[:, None]
    tl.store(here, first * c + second * s, mask=inside)
    tl.store(here + half, second * c - first * s, mask=inside)


@triton.jit
def gate(out, gate_up, stride, width, BLOCK: tl.constexpr):
    """Computes silu(gate) * up of a piece of a row."""
    index, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here, inside = gate_up + index * stride + columns, columns < width
    value, up = tl.load(here, mask=inside).to(tl.float32), tl.load(here + width, mask=inside).to(tl.float32)
    tl.store(out + index * width + columns, value / (1.0 + tl.exp(-value)) * up, mask=inside)


@triton.jit
def gate_backward(both, grad, gate_up, grad_stride, stride, width, BLOCK: tl.constexpr):
    """Computes the gradients of gate and up in a piece of a row; silu is computed again."""
    index, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here, inside = gate_up + index * stride + columns, columns < width
    back = tl.load(grad + index * grad_stride + columns, mask=inside).to(tl.float32)
    value, up = tl.load(here, mask=inside).to(tl.float32), tl.load(here + width, mask=inside).to(tl.float32)
    share = 1.0 / (1.0 + tl.exp(-value))
    here = both + index * 2 * width + columns
    tl.store(here, back * up * share * (1.0 + value * (1.0 - share)), mask=inside)
    tl.store(here + width, back * value * share, mask=inside)
