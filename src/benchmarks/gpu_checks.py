"""Checks before speeds: looks at the machine, and whether fast ways compute the same."""

import os
import platform
from functools import partial
from itertools import product

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from src.benchmarks.fixtures import engine, random_drgs, random_notes, small_model
from src.benchmarks.gpu_lines import LeftOut, Row, Unit, differs
from src.benchmarks.training import equality
from src.config.choices import Precision
from src.config.train import ModelConfig
from src.models import devices
from src.models.bases import computing
from src.models.classifier import AdapterBatch, read_together
from src.models.devices import matrix_rate
from src.models.engine import attention, kernels
from src.models.engine.attention import Backend, pick_backend
from src.models.engine.packing import pack, send
from src.runs.provenance import package_versions

GIB = 2**30

PACKAGES = ("torch", "transformers", "peft", "triton", "bitsandbytes")

HEADS = ((32, 32), (40, 40), (32, 8))
"""Heads of queries and of keys and values: 7B, 13B, and Llama 3 8B, all of width 128."""

SHORT, LONG = 7, 200
"""Tokens of a note; `pick_backend` tries the short ones."""

MOST_OF_LOSSES = 1e-4
"""Largest difference of ten steps' losses in fp32 with which speeds are shown."""

MOST_OF_MODELS = 0.05
"""Largest difference of a bf16 model's gradients as a share of the largest: attention that is rounded once, on a CPU,
makes 0.7 %."""


def machine_units(device: str, model: ModelConfig) -> list[Unit]:
    """Reports the device, its memory, and versions."""
    return [Unit({"part": "machine"}, lambda: _machine(device, model))]


def _machine(device: str, model: ModelConfig) -> Row:
    memory = {"memory_gib": devices.all_bytes(device) / GIB, "free_gib": devices.free_bytes(device) / GIB}
    row: Row = {"device": device, "name": platform.processor() or platform.machine(), "cpus": os.cpu_count(), **memory}
    if device != "cpu":
        row |= {"name": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        row |= {"capability": ".".join(map(str, torch.cuda.get_device_capability()))}
    versions = {"python": platform.python_version(), **package_versions(PACKAGES)}
    rate = matrix_rate(2048, model.hidden_size, model.intermediate_size, computing(Precision.BF16, device), device)
    return {**row, **versions, "matrix_tflops": rate / 1e12}


def attention_units(device: str) -> list[Unit]:
    """Compares the device's fast attention with attention note by note: short and long notes, and a whole model."""
    on_cpu = device == "cpu"
    backend, dtype = (Backend.NOTES, torch.float32) if on_cpu else (Backend.VARLEN, torch.bfloat16)
    settings: Row = {"part": "attention", "backend": str(backend), "dtype": str(dtype).removeprefix("torch.")}
    units = []
    for heads, tokens in product(HEADS, (SHORT, LONG)):
        sizes = {"heads": heads[0], "kv_heads": heads[1], "width": 128, "tokens": tokens}
        units.append(
            Unit({**settings, **sizes}, partial(_attention, backend, torch.device(device), dtype, heads, tokens))
        )
    return [*units, Unit({**settings, "model": "small"}, partial(_whole_model, device, backend))]


def _attention(backend: Backend, device: torch.device, dtype: torch.dtype, heads: tuple[int, int], tokens: int) -> Row:
    picked = str(pick_backend(device, dtype, heads, 128))
    worst = attention.difference(backend, device, dtype, heads, 128, tokens)
    # Sums over long notes round more: in bf16 a CPU's differ from those in fp64 by up to 1 %.
    most = attention.TOLERANCE * (1 if tokens == SHORT else 2)
    return {"picked": picked, **differs(worst, most, "outputs or gradients")}


def _whole_model(device: str, backend: Backend) -> Row:
    model = small_model(256, 4)
    classifier = engine(model, Precision.BF16, device, 0.0)
    notes, (leaves, _) = pack(random_notes(4, 128, model.vocab_size, 0)), classifier.leaves()
    losses, gradients = [], []
    for candidate in (Backend.NOTES, backend):
        logits = read_together([AdapterBatch(classifier, notes)], backend=candidate)[0]
        loss = cross_entropy(logits, send([random_drgs(4, 0)], logits.device)[0])
        leaves.grad = None
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.empty(0) if leaves.grad is None else leaves.grad.clone())
    largest = float(gradients[0].abs().max())
    worst = float((gradients[0] - gradients[1]).abs().max()) / largest
    return {"losses": abs(losses[0] - losses[1]), **differs(worst, MOST_OF_MODELS, "gradients")}


def kernel_units(device: str) -> list[Unit]:
    """Compares each fused kernel with torch's operators, as a share of 1 + value."""
    if device == "cpu":
        return [Unit({"part": "kernels"}, _no_kernels)]

    return [
        Unit(
            {"part": "kernels", "dtype": str(dtype).removeprefix("torch."), "width": width},
            partial(_kernels, torch.device(device), dtype, width),
        )
        for dtype, width in product((torch.bfloat16, torch.float32), (176, 512))
    ]


def _kernels(device: torch.device, dtype: torch.dtype, width: int) -> Row:
    by_function = kernels.differences(device, dtype, width)
    row = differs(float(np.max(list(by_function.values()))), kernels.TOLERANCE, "results")
    return {"available": kernels.available(device), **row, "by_function": by_function}


def _no_kernels() -> Row:
    raise LeftOut("fused kernels are for CUDA; a CPU takes torch's operators")


def equality_units(device: str, model: ModelConfig | None = None) -> list[Unit]:
    """Compares the losses of ten steps in fp32 with a plain padded loop's."""
    small = model or small_model(256, 4)
    settings: Row = {"part": "equality", "hidden": small.hidden_size, "layers": small.layers, "steps": 10}

    def compared() -> Row:
        return differs(equality(small, 512, 10, torch.float32, device), MOST_OF_LOSSES, "losses")

    return [Unit(settings, compared)]
