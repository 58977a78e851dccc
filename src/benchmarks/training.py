"""Measures the speed of a training step beside the paper's recipe on stock libraries.

`python -m src.benchmarks.training [max_len=512,1024] [hidden=256] [layers=4] [rounds=8] [precision=fp32] [wide=true]`
first holds the losses of this project's engine against a plain transformers + peft loop on padded batches, then takes
the same steps with every variant in turn, one thread, and prints ratios of medians of processor time a real token.
`wide=true` measures hidden 1,024 against this machine's own matrix products of the same shapes instead.
"""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.benchmarks.fixtures import (
    DROPOUT,
    Note,
    engine,
    padded,
    random_drgs,
    random_notes,
    small_model,
    stock,
    take_over,
)
from src.benchmarks.recipe import NOTES_A_STEP, RATE, TrainerSteps
from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.progress import track
from src.config.choices import Precision
from src.config.train import ModelConfig
from src.estimates.flop import shapes
from src.models.bases import computing
from src.models.classifier import AdapterBatch, Classifier, read_together
from src.models.engine.attention import Backend, attend
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import pack
from src.training.quiet_libraries import quiet_libraries

Batch = tuple[list[Note], Tensor]
STEPS_A_ROUND = 3


class EngineSteps:
    """Takes this project's steps: one packed row, fused blocks, AdamW, clipped at 1."""

    def __init__(self, classifier: Classifier, *, prune: bool = True, dropout: float = DROPOUT) -> None:
        self.classifier, self.prune, self.dropout, self.step = classifier, prune, dropout, 0
        self.weights = list(classifier.trained().values())
        self.optimiser = torch.optim.AdamW(self.weights, lr=RATE, weight_decay=0.01)

    def take(self, notes: Sequence[Note], drgs: Tensor) -> float:
        """Takes one optimiser step, and returns its loss."""
        self.step += 1
        keys = tuple((0, self.step, index) for index in range(len(notes)))
        packed = pack(notes)
        logits = read_together(
            [AdapterBatch(self.classifier, packed, KeyedDropout(self.dropout, keys))], prune=self.prune
        )[0]
        loss = cross_entropy(logits, drgs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    def seconds(self, batches: Sequence[Batch]) -> list[float]:
        """Times each step in seconds, packing included."""
        seconds = []
        for notes, drgs in batches:
            start = time.process_time()
            self.take(notes, drgs)
            seconds.append(time.process_time() - start)
        return seconds


def equality(model: ModelConfig, max_len: int, steps: int, dtype: torch.dtype, device: str = "cpu") -> float:
    """Measures the loss's largest difference from a plain transformers + peft loop on padded batches, dropout 0."""
    ours = engine(model, Precision.FP32, device, 0.0).to(dtype)
    theirs = stock(model, Precision.FP32, device, 0.0, like=ours).to(dtype)
    take_over(theirs, ours)
    mine = EngineSteps(ours, dropout=0.0)
    weights = [weight for weight in theirs.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01)
    differences = []
    for step in track(range(steps), total=steps, what=f"equality {dtype}", unit="step"):
        notes = random_notes(NOTES_A_STEP, max_len, model.vocab_size, step)
        drgs = random_drgs(NOTES_A_STEP, step).to(device)
        ids, mask = (tensor.to(device) for tensor in padded(notes))
        loss = cross_entropy(theirs(input_ids=ids, attention_mask=mask).logits, drgs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        differences.append(abs(float(loss.detach()) - mine.take(notes, drgs)))
    return float(np.max(differences))  # not a number where a loss is none


def batches_of(notes: Sequence[Note], drgs: Tensor) -> list[Batch]:
    """Groups notes four at a time."""
    starts = range(0, len(notes), NOTES_A_STEP)
    return [(list(notes[start : start + NOTES_A_STEP]), drgs[start : start + NOTES_A_STEP]) for start in starts]


def tokens(batches: Sequence[Batch]) -> list[int]:
    """Counts the real tokens of each step."""
    return [sum(map(len, notes)) for notes, _ in batches]


def waste(batches: Sequence[Batch]) -> float:
    """Measures the share of padding in batches padded to their longest note."""
    whole = sum(len(notes) * max(map(len, notes)) for notes, _ in batches)
    return 1 - sum(tokens(batches)) / whole


def by_length(notes: Sequence[Note], drgs: Tensor, steps: int) -> list[Batch]:
    """Groups notes of like length into steps, spread over the lengths: what Trainer's group_by_length makes of them."""
    order = sorted(range(len(notes)), key=lambda index: len(notes[index]))
    whole = batches_of([notes[index] for index in order], drgs[order])
    return [whole[round((step + 0.5) * len(whole) / steps - 0.5)] for step in range(steps)]


def ladder(model: ModelConfig, max_len: int, rounds: int, precision: Precision) -> None:
    """Measures every variant on the same steps, in turn, and prints the table."""
    pool, drgs = random_notes(200, max_len, model.vocab_size, 1), random_drgs(200, 1)
    every, converted = batches_of(pool, drgs), precision is not Precision.FP32
    variants: dict[str, Any] = {
        "recipe: Trainer, recomputed": TrainerSteps(stock(model, precision, "cpu"), recompute=True),
        "Trainer": TrainerSteps(stock(model, precision, "cpu"), recompute=False),
        "Trainer, by length": TrainerSteps(stock(model, precision, "cpu"), recompute=False),
        **({"recipe in fp32": TrainerSteps(stock(model, Precision.FP32, "cpu"), recompute=True)} if converted else {}),
        "this, whole last block": EngineSteps(engine(model, precision, "cpu"), prune=False),
        "this": EngineSteps(engine(model, precision, "cpu")),
    }
    pace: dict[str, list[float]] = {name: [] for name in variants}
    for turn in track(range(rounds + 1), total=rounds + 1, what=f"max_len={max_len}", unit="round"):
        first = turn * STEPS_A_ROUND % len(every)
        random_order = every[first : first + STEPS_A_ROUND] or every[:STEPS_A_ROUND]
        for name, variant in variants.items():
            some = by_length(pool, drgs, STEPS_A_ROUND) if "by length" in name else random_order
            measured = [took / real for took, real in zip(variant.seconds(some), tokens(some), strict=True)]
            pace[name] += measured if turn else []  # the first round warms up
    print(f"\n{precision}, max_len={max_len}: {waste(every):.1%} padding in random steps of {NOTES_A_STEP}")
    table(pace)
    least = bound(model, every[: STEPS_A_ROUND * 3], precision)
    ratios = [median(pace[name]) / least for name in list(pace)[:2]]
    print(f"bound, were all but products and attention free: {ratios[0]:.2f} the recipe, {ratios[1]:.2f} Trainer")


def table(pace: dict[str, list[float]]) -> None:
    """Prints real tokens a second and the ratio to each stock variant."""
    names = list(pace)
    stock_names = [name for name in names if not name.startswith("this")]
    mid = {name: median(pace[name]) for name in names}
    print(f"{'':<30}{'tokens/s':>10}" + "".join(f"{'/ ' + name.split(':')[0]:>20}" for name in stock_names))
    for name in names:
        print(
            f"{name:<30}{1 / mid[name]:>10,.0f}"
            + "".join(f"{mid[stock_name] / mid[name]:>20.2f}" for stock_name in stock_names)
        )


def bound(model: ModelConfig, batches: Sequence[Batch], precision: Precision) -> float:
    """Times matrix products and attention alone, in seconds a real token, in all blocks but the pruned last."""
    dtype = computing(precision, "cpu")
    heads, width = model.heads, model.hidden_size // model.heads
    costs = []
    for (notes, _), real in zip(batches, tokens(batches), strict=True):
        q, k, v = (torch.randn(real, heads, width).to(dtype).requires_grad_() for _ in range(3))
        options: dict[str, Any] = {"scale": width**-0.5, "ends": False, "backend": Backend.NOTES}
        start = time.process_time()
        seen = attend(q, k, v, [len(note) for note in notes], **options)
        torch.autograd.grad(seen, (q, k, v), torch.ones_like(seen))
        attention = time.process_time() - start
        costs.append((products(model, real, precision)[0] + attention) * (model.layers - 1) / real)
    return median(costs)


def wide(rounds: int, precision: Precision) -> None:
    """Times hidden 1,024, two blocks: packed against the same engine on padded notes, and against matrix products."""
    model = small_model(1024, 2)
    pool, drgs = random_notes(200, 512, model.vocab_size, 1), random_drgs(200, 1)
    every = batches_of(pool, drgs)
    steps = EngineSteps(engine(model, precision, "cpu"), prune=False)
    whole, packed, product, useful, ratio = [], [], [], [], []
    for turn in track(range(rounds), total=rounds, what="hidden 1024", unit="round"):
        (notes, labels), filled = every[turn], []
        longest = max(map(len, notes))
        filled = [note + [0] * (longest - len(note)) for note in notes]
        packed += steps.seconds([(notes, labels)])
        whole += steps.seconds([(filled, labels)])
        real = sum(map(len, notes))
        ratio.append(longest * len(notes) / real)
        took, flop = products(model, real, precision)
        product.append(flop / took)
        useful.append(4 * real * model.layers * sum(a * b for a, b in shapes(model).values()) / packed[-1])
    faster = median(slow / fast for slow, fast in zip(whole, packed, strict=True))
    print(
        f"\nhidden 1,024, 2 blocks, {precision}, 512 tokens: packed {faster:.2f} times padded, "
        f"token ratio {median(ratio):.2f}, share {faster / median(ratio):.2f}"
    )
    print(
        f"useful {median(useful) / 1e9:.1f} GFLOP/s, matrix products of these shapes {median(product) / 1e9:.1f}: "
        f"{median(useful) / median(product):.0%}"
    )


def products(model: ModelConfig, rows: int, precision: Precision) -> tuple[float, float]:
    """Times one forward and backward product through every matrix of a block, and counts its operations."""
    dtype = computing(precision, "cpu")
    took = flop = 0.0
    for inputs, outputs in shapes(model).values():
        x, grad = torch.randn(rows, inputs).to(dtype), torch.randn(rows, outputs).to(dtype)
        weight = torch.randn(outputs, inputs).to(dtype)
        start = time.process_time()
        _ = x @ weight.T
        _ = grad @ weight
        took += time.process_time() - start
        flop += 4.0 * rows * inputs * outputs
    return took, flop


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        defaults = {
            "max_len": "512,1024",
            "hidden": 256,
            "layers": 4,
            "rounds": 8,
            "precision": Precision.FP32,
            "wide": False,
        }
        words = read_settings(sys.argv[1:], defaults)
        torch.set_num_threads(1)
        quiet_libraries()
        precision, rounds = words["precision"], words["rounds"]
        model = small_model(words["hidden"], words["layers"])
        gate(small_model(64, 3), model)
        if words["wide"]:
            wide(rounds, precision)
            return
        for max_len in words["max_len"].split(","):
            ladder(model, int(max_len), rounds, precision)


def gate(tiny: ModelConfig, model: ModelConfig) -> None:
    """Holds losses against the plain loop's.

    Raises:
        UserError: they differ.
    """
    checks: list[tuple[str, Callable[[], float], float]] = [
        ("50 steps in fp64, hidden 64", lambda: equality(tiny, 128, 50, torch.float64), 1e-9),
        (f"10 steps in fp32, hidden {model.hidden_size}", lambda: equality(model, 512, 10, torch.float32), 1e-5),
    ]
    for name, check, most in checks:
        worst = check()
        print(f"losses of {name}: largest difference {worst:.1e}, at most {most:.0e} is let pass", flush=True)
        if not np.isfinite(worst) or worst > most:
            raise UserError(f"{name}: the losses differ by {worst:.1e}; speeds of another computation are not shown")


if __name__ == "__main__":
    main()
