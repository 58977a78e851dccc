"""Counts what a step asks of a GPU's host: kernels, views, waits and milliseconds, beside plain transformers + peft.

`python -m src.benchmarks.host [models=llama7b,llama13b] [max_len=512] [rounds=8] [precision=bf16] [baseline=true]`
needs no GPU. Kernels are counted on the meta device at full size, where any wait for the device raises; milliseconds
are the processor's, on one thread, with as many blocks over vectors so short that their arithmetic is nothing. In both
the code goes a GPU's way, through Triton's launcher up to the launch itself. Products of bf16 cost a processor more
than a launch does, however small they are; `precision=fp32` leaves that out, and the conversions with it.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.benchmarks.fixtures import DROPOUT, Note, engine, padded, random_drgs, random_notes, stock
from src.benchmarks.gpu import model_of
from src.benchmarks.launches import Launches, launcher
from src.benchmarks.recipe import NOTES_A_STEP, RATE, recompute_activations
from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.progress import track
from src.config.choices import Precision
from src.config.train import ModelConfig
from src.models.classifier import AdapterBatch, read_together
from src.models.engine.attention import Backend
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import pack, send
from src.training.quiet_libraries import quiet_libraries

PARTS = ("forward", "backward", "update")


class Step:
    """Splits a training step into three parts, each a call.

    Args:
        loss: computes the loss of a step's notes and DRGs.
        weights: what is trained.
    """

    def __init__(self, loss: Callable[[list[Note], Tensor], Tensor], weights: Sequence[Tensor]) -> None:
        self.loss, self.weights = loss, list(weights)
        self.optimiser = torch.optim.AdamW(self.weights, lr=RATE, weight_decay=0.01, fused=True)

    def parts(self, notes: list[Note], drgs: Tensor) -> Iterator[Callable[[], object]]:
        """Yields forward, backward, and clipping with the update."""
        loss: list[Tensor] = []
        yield lambda: loss.append(self.loss(notes, drgs))
        yield lambda: loss[0].backward()
        yield self.update

    def update(self) -> None:
        """Clips at 1 and takes AdamW's step."""
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0, foreach=True)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


def ours(model: ModelConfig, precision: Precision, device: str, recompute: bool = False) -> Step:
    """Builds this project's step."""
    classifier = engine(model, precision, device)
    steps = iter(range(10**9))

    def loss(notes: list[Note], drgs: Tensor) -> Tensor:
        step = next(steps)
        noise = KeyedDropout(DROPOUT, tuple((0, step, index) for index in range(len(notes))))
        logits = read_together([AdapterBatch(classifier, pack(notes), noise)], recompute=recompute)[0]
        return cross_entropy(logits, send([drgs], logits.device)[0])

    return Step(loss, classifier.leaves())


def plain(model: ModelConfig, precision: Precision, device: str, recompute: bool) -> Step:
    """Builds the step of transformers + peft on a padded batch."""
    network = stock(model, precision, device)
    if recompute:
        recompute_activations(network)
        network.enable_input_require_grads()

    def loss(notes: list[Note], drgs: Tensor) -> Tensor:
        ids, mask = (part.to(device) for part in padded(notes))
        return cross_entropy(network(input_ids=ids, attention_mask=mask).logits.float(), drgs.to(device))

    return Step(loss, [weight for weight in network.parameters() if weight.requires_grad])


@contextmanager
def a_gpus_way() -> Iterator[Counter[str]]:
    """Lets the engine take the branches that it takes on CUDA; gives the count of Triton's launches by kernel."""
    with ExitStack() as stack:
        stack.enter_context(patch("src.models.classifier.pick_backend", return_value=Backend.VARLEN))
        stack.enter_context(patch("src.models.engine.kernels.available", return_value=True))
        stack.enter_context(patch.object(torch.ops.aten, "_flash_attention_forward", _attended))
        stack.enter_context(patch("src.models.adapters.merges", return_value=True))
        # A CPU has three operators for dropout, CUDA one.
        stack.enter_context(patch("torch.nn.functional.dropout", _dropped))
        yield stack.enter_context(launcher())


class _Attended(torch.autograd.Function):
    """Stands for attention without its kernels."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts)
        return torch.empty_like(parts[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return tuple(torch.empty_like(part) for part in ctx.saved_tensors)


def _attended(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
    return (_Attended.apply(query, key, value),)


def _dropped(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return torch.native_dropout(x, p, training)[0] if training and p else x


def counted(step: Step, device: str, notes: list[Note], drgs: Tensor, tritons: Counter[str]) -> dict[str, Counter[str]]:
    """Counts what each part of a step asks for: `kernels`, Triton's among them, `views`, `waits` and `copies`."""
    counts = {}
    for name, part in zip(PARTS, step.parts(notes, drgs), strict=True):
        tritons.clear()
        with Launches(device) as launches:
            part()
        counts[name] = launches.counts + Counter(kernels=tritons.total())
    return counts


def milliseconds(steps: dict[str, Step], rounds: int, name: str) -> dict[str, list[float]]:
    """Takes the median processor time of each part of each step, in turn over notes of a few tokens."""
    spent: dict[str, list[list[float]]] = {key: [] for key in steps}
    for turn in track(range(rounds + 2), total=rounds + 2, what=f"host {name}", unit="round"):
        for key, step in steps.items():
            row = []
            for part in step.parts([[5, 6, 7]] * NOTES_A_STEP, random_drgs(NOTES_A_STEP, turn)):
                start = time.process_time()
                part()
                row.append(1000 * (time.process_time() - start))
            if turn > 1:
                spent[key].append(row)
    return {key: [median(part) for part in zip(*rows, strict=True)] for key, rows in spent.items()}


def thin(model: ModelConfig) -> ModelConfig:
    """Describes as many blocks of so small a width that their arithmetic is nothing."""
    heads = max(1, model.heads // model.kv_heads)
    return replace(model, hidden_size=32 * heads, intermediate_size=64, heads=heads, kv_heads=1, vocab_size=1000)


def measure(name: str, max_len: int, rounds: int, precision: Precision, baseline: bool) -> dict[str, Counter[str]]:
    """Counts and times one model's step, prints the table, and gives the counts of a step by row."""
    model = replace(model_of(name))
    notes, drgs = random_notes(NOTES_A_STEP, max_len, model.vocab_size, 1), random_drgs(NOTES_A_STEP, 1)
    small: dict[str, Step] = {}
    for recompute, suffix in ((False, ""), (True, ", recomputed")):
        small["this" + suffix] = ours(thin(model), precision, "cpu", recompute)
        if baseline:
            small["plain" + suffix] = plain(thin(model), precision, "cpu", recompute)
    counts = {}
    with a_gpus_way() as tritons:
        spent = milliseconds(small, rounds, name)
        for key, step in small.items():
            tiny = counted(step, "cpu", [[5, 6, 7]] * NOTES_A_STEP, drgs, tritons)
            if key.startswith("this"):
                whole = ours(model, precision, "meta", key != "this")
                whole.update = lambda: None  # type: ignore[method-assign]  # AdamW does not know the meta device
                tiny |= {**counted(whole, "meta", notes, drgs, tritons), "update": tiny["update"]}
            counts[key] = sum(tiny.values(), Counter[str]())
    print(f"\n{name}, {NOTES_A_STEP} notes of {sum(map(len, notes))} tokens together")
    print(f"{'':<20}{'kernels':>9}{'views':>9}{'waits':>7}" + "".join(f"{part:>10}" for part in (*PARTS, "ms")))
    for key, parts in spent.items():
        row = "".join(f"{counts[key][kind]:>{wide},}" for kind, wide in (("kernels", 9), ("views", 9), ("waits", 7)))
        print(f"{key:<20}{row}" + "".join(f"{part:>10.1f}" for part in (*parts, sum(parts))))
    return counts


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        defaults = {"models": "llama7b,llama13b", "max_len": 512, "rounds": 8}
        defaults |= {"precision": Precision.BF16, "baseline": True}
        words = read_settings(sys.argv[1:], defaults)
        torch.set_num_threads(1)
        quiet_libraries()
        for name in words["models"].split(","):
            measure(name, words["max_len"], words["rounds"], words["precision"], words["baseline"])


if __name__ == "__main__":
    main()
