"""A program of its own: compiles every kernel for a card that need not be here, as a 7B and a 13B step launch them.

    python -m tests.models.engine.compiled 80

writes one JSON object: of each number of rows, of each kernel and its arguments' types, the bytes it spills.
The shells of `kernels.py` are called with tensors that hold nothing; what they would launch is compiled instead.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from src.models.engine import kernels, triton_kernels
from src.models.engine.dropout import Drops

ROWS = (1565, 1536, 1)
"""Four notes; a number that 16 divides; and one row. Triton specialises on both of the latter."""

MODELS = {"7B": (4096, 11008, 32, 32), "13B": (5120, 13824, 40, 40), "3.1 8B": (4096, 14336, 32, 8)}
"""Width, inner width, heads and key-value heads."""

TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int64: "*i64"}


def source(kernel: Any, args: tuple[Any, ...], options: dict[str, int]) -> ASTSource:
    """A kernel with its arguments' types, specialised as Triton's own launcher does: on 1 and on multiples of 16."""
    signature, constants, attributes = {}, {}, {}
    values = [*args, *(options[name] for name in kernel.arg_names[len(args) :])]
    for position, (name, value) in enumerate(zip(kernel.arg_names, values, strict=True)):
        specialised = name not in (kernel.do_not_specialize or [])
        if torch.is_tensor(value):
            signature[name], attributes[position,] = TYPES[value.dtype], [["tt.divisibility", 16]]
        elif position >= len(args) or value is None or (isinstance(value, int) and value == 1 and specialised):
            signature[name], constants[name] = "constexpr", value
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
            if isinstance(value, int) and value % 16 == 0 and specialised:
                attributes[position,] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attributes)


def spilled(compiled: Any) -> int:
    """Bytes that the threads of a compiled kernel spill, as the assembler says."""
    ptxas = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    arch = re.search(r"\.target (\S+)", compiled.asm["ptx"])
    assert arch
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.ptx")
        path.write_text(compiled.asm["ptx"])
        words = [ptxas, "-v", f"--gpu-name={arch[1].rstrip(',')}", path, "-o", path.with_suffix(".cubin")]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stderr
    counts = re.findall(r"(\d+) bytes spill", said)
    assert len(counts) == 2, said
    return sum(map(int, counts))


def launches(count: int, width: int, inner: int, heads: int, groups: int) -> None:
    """Calls every shell as a block does."""

    def rows(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        return torch.empty(count, *shape, dtype=dtype, device="meta")

    whole = torch.int64
    keys = torch.empty(4, 3, dtype=whole, device="meta")
    drops, head = Drops([], [], keys, rows(dtype=whole), rows(dtype=whole), 5), width // heads
    x, scale, cos, weight = rows(width), rows(1, dtype=torch.float32), rows(head), rows(width)[0]
    for drawn in (None, drops):
        kernels.norm(x, weight, 1e-5, drawn)
        for through, onto in ((None, None), (x, x)):
            kernels.norm_backward(x, through, drawn, x, weight, scale, onto)
    for wide in (x, rows(inner)):
        kernels.drop(wide, drops)
        kernels.add_kept_(wide, wide, drops)
    kernels.rotate_(rows((heads + 2 * groups) * head), cos, cos, heads + groups, head)
    kernels.rotate_back(rows(heads, head), rows(groups, head), rows(groups, head), cos, cos)
    kernels.gate(rows(2 * inner))
    kernels.gate_backward(rows(inner), rows(2 * inner))
    each_head = torch.empty(count * heads, 128, dtype=torch.bfloat16, device="meta")
    kernels.norm(each_head, weight[:128], 1e-6, None)


def main(capability: int) -> None:
    """Compiles what every model launches, each variant once."""
    seen: dict[str, int] = {}
    results: dict[int, dict[str, int]] = {count: {} for count in ROWS}

    def compile_instead(name: str, grid: tuple[int, ...], x: Any, args: tuple[Any, ...], **options: int) -> None:
        given = source(getattr(triton_kernels, name), args, options)
        types, constants = list(given.signature.values()), dict(given.constants)
        variant = f"{name}: {types}, {constants}, 16 divides {sorted(given.attrs)}, {options['num_warps']} warps"
        if variant not in seen:
            chosen = {"num_warps": options["num_warps"]}
            seen[variant] = spilled(triton.compile(given, GPUTarget("cuda", capability, 32), chosen))
        results[count][variant] = seen[variant]

    kernels._launch = compile_instead
    for count in ROWS:
        for shape in MODELS.values():
            launches(count, *shape)
    print(json.dumps(results))


if __name__ == "__main__":
    main(int(sys.argv[1]))
