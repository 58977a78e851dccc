"""Measures speeds and peaks for `python -m src.benchmarks.gpu`: a model at a length, of this project and of Trainer."""

import gc
import importlib.util
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise, product
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.benchmarks.fixtures import ALPHA, DRGS, DROPOUT, RANK, TARGETS, engine, random_drgs, random_notes, stock
from src.benchmarks.gpu_lines import LeftOut, Row, Unit
from src.benchmarks.recipe import NOTES_A_STEP, RATE, TrainerSteps
from src.benchmarks.training import Batch, batches_of, tokens, waste
from src.config.choices import Precision
from src.config.train import LoraConfig, ModelConfig, TrainConfig
from src.estimates.flop import count_parameters, step_flop
from src.estimates.memory import memory
from src.models import devices
from src.models.classifier import AdapterBatch, Classifier, read_together, with_adapters
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import pack, send
from src.training.optimiser import adamw

WARM_UP = 3
HOST_STEPS = 3
ROWS = 15
"""Operators of a profile that are shown."""
GIB = 2**30


class Steps:
    """Takes this project's optimiser steps of some cells over one base.

    Args:
        cells: their classifiers.
        recompute: activations are computed again in the backward pass.
    """

    def __init__(self, cells: Sequence[Classifier], recompute: bool = False) -> None:
        self.cells, self.recompute, self.taken = cells, recompute, 0
        self.leaves = [cell.leaves() for cell in cells]
        self.optimisers = [adamw(leaves, RATE, 0.01) for leaves in self.leaves]
        self.loss = torch.zeros(())

    def take(self, batches: Sequence[Batch]) -> None:
        """Takes one step of every cell, each on its own notes, in one pass."""
        self.taken += 1
        adapter_batches = []
        for cell, (notes, _) in zip(self.cells, batches, strict=True):
            noise = KeyedDropout(DROPOUT, tuple((0, self.taken, index) for index in range(len(notes))))
            adapter_batches.append(AdapterBatch(cell, pack(notes), noise))
        losses: list[Tensor] = []
        for logits, (_, drgs) in zip(read_together(adapter_batches, recompute=self.recompute), batches, strict=True):
            losses.append(cross_entropy(logits, send([drgs], logits.device)[0]))
        self.loss = torch.stack(losses).sum()
        self.loss.backward()
        self.loss = self.loss.detach()
        for leaves, optimiser in zip(self.leaves, self.optimisers, strict=True):
            torch.nn.utils.clip_grad_norm_(leaves, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


class Speeds:
    """Measures models on one device; a base is kept while the next measurement asks for the same.

    Args:
        device: `cuda` or `cpu`.
        steps: that are timed, after the warm-up.
    """

    def __init__(self, device: str, steps: int) -> None:
        self.device, self.steps = device, steps
        self.pace: dict[tuple[str, int], float] = {}
        self._cells: list[Classifier] = []
        self._base: tuple[str, Precision] | None = None

    def free(self) -> None:
        """Gives back all memory but what the kept base takes."""
        gc.collect()
        devices.free_unused(self.device)

    def drop(self) -> None:
        """Gives back the kept base as well."""
        self._cells, self._base = [], None
        self.free()

    def cells(self, model: ModelConfig, precision: Precision, count: int = 1) -> list[Classifier]:
        """Builds classifiers in training mode on one base."""
        if self._base != (model.name, precision):
            self.drop()
            self._cells, self._base = [engine(model, precision, self.device)], (model.name, precision)
        lora = LoraConfig(RANK, ALPHA, DROPOUT, TARGETS)
        while len(self._cells) < count:
            backbone, name = self._cells[0].backbone, f"cell{len(self._cells)}"
            self._cells.append(with_adapters(backbone, lora, DRGS, self.device, name))
        return [cell.train() for cell in self._cells[:count]]

    def batches(self, model: ModelConfig, max_len: int) -> list[Batch]:
        """Draws the same notes for whatever is measured: four a step, warm-up included, the longest step first.

        Memory for all others is there then, and no timed step waits for more.
        """
        notes = random_notes(NOTES_A_STEP * (self.steps + WARM_UP), max_len, model.vocab_size, 1)
        batches = batches_of(notes, random_drgs(len(notes), 1))
        longest = batches.pop(int(np.argmax(tokens(batches))))
        return [longest, *batches]

    def clock(self) -> float:
        """Reads the clock in seconds, once the device has done what it was given."""
        devices.wait(self.device)
        return time.perf_counter()

    def seconds(self, take: Callable[[Any], object], batches: Sequence[Any]) -> list[float]:
        """Times each step after the warm-up, in seconds, by CUDA's events on a GPU, whose host runs ahead."""
        if self.device == "cpu":
            marks = [time.perf_counter()]
            for batch in batches:
                take(batch)
                marks.append(time.perf_counter())
            return [end - start for start, end in pairwise(marks)][WARM_UP:]
        events = [torch.cuda.Event(enable_timing=True) for _ in range(len(batches) + 1)]
        events[0].record()
        for batch, event in zip(batches, events[1:], strict=True):
            take(batch)
            event.record()
        devices.wait(self.device)
        return [start.elapsed_time(end) / 1000 for start, end in pairwise(events)][WARM_UP:]

    def host_ms(self, take: Callable[[Any], object], batches: Sequence[Any]) -> float:
        """Takes the median milliseconds until a step's last launch returned, each step begun on an idle device."""
        spent = []
        for batch in batches[-HOST_STEPS:]:
            start = self.clock()
            take(batch)
            spent.append(1000 * (time.perf_counter() - start))
        return median(spent)

    def peak_gib(self) -> float | None:
        """Reads the most that torch has allocated on a GPU since the last call, in GiB; None on a CPU."""
        peak = devices.peak_bytes(self.device)
        if peak is None:
            return None
        torch.cuda.reset_peak_memory_stats()
        return peak / GIB

    def speed(self, model: ModelConfig, max_len: int, precision: Precision, recompute: bool) -> Row:
        """Measures this project's step, and its peak beside the plan's."""
        steps, batches = Steps(self.cells(model, precision), recompute), self.batches(model, max_len)
        self.peak_gib()
        spent = self.seconds(steps.take, [[batch] for batch in batches])
        peak, pace = self.peak_gib(), median(_a_token(spent, batches))
        if precision is Precision.BF16 and not recompute:
            self.pace[model.name, max_len] = pace
        cfg = TrainConfig.__new__(TrainConfig)
        cfg.model, cfg.lora = model, LoraConfig(RANK, ALPHA, DROPOUT, TARGETS)
        parameters, longest, on_gpu = count_parameters(cfg, DRGS), max(tokens(batches)), self.device != "cpu"
        plan = memory(cfg, parameters, precision, tokens=longest, recompute=recompute, on_gpu=on_gpu).total
        return {
            "seconds_a_step": median(spent),
            "tokens_a_step": median(tokens(batches[WARM_UP:])),
            "padding": waste(batches),
            "tokens_a_second": 1 / pace,
            "useful_tflops": step_flop(model, parameters, 1, recompute=False) / pace / 1e12,
            "host_ms": self.host_ms(steps.take, [[batch] for batch in batches]),
            "loss": float(steps.loss),
            "peak_gib": peak,
            "planned_gib": plan / GIB,
        }

    def together(self, model: ModelConfig, max_len: int, count: int) -> Row:
        """Measures steps of several cells over one base: in one pass, and in turn."""
        cells, batches = self.cells(model, Precision.BF16, count), self.batches(model, max_len)
        shared = [[batches[(step + cell) % len(batches)] for cell in range(count)] for step in range(len(batches))]
        self.peak_gib()
        one_pass = median(self.seconds(Steps(cells).take, shared))
        peak, alone = self.peak_gib(), [Steps([cell]) for cell in cells]

        def in_turn(of_cells: Sequence[Batch]) -> None:
            for steps, batch in zip(alone, of_cells, strict=True):
                steps.take([batch])

        turns = median(self.seconds(in_turn, shared))
        return {"one_pass_seconds": one_pass, "in_turn_seconds": turns, "ratio": turns / one_pass, "peak_gib": peak}

    def trainer(self, model: ModelConfig, max_len: int, recompute: bool) -> Row:
        """Measures transformers' Trainer with peft on the same notes; `ratio` is this project's speed over its."""
        self.drop()
        batches = self.batches(model, max_len)
        network = stock(model, Precision.BF16, self.device)
        self.peak_gib()
        spent = TrainerSteps(network, recompute=recompute, clock=self.clock).seconds(batches)[WARM_UP:]
        pace, ours = median(_a_token(spent, batches)), self.pace.get((model.name, max_len))
        return {
            "seconds_a_step": median(spent),
            "tokens_a_second": 1 / pace,
            "ratio": None if ours is None else pace / ours,
            "peak_gib": self.peak_gib(),
        }

    def quantised(self, model: ModelConfig, max_len: int, precision: Precision) -> Row:
        """Measures this project's step over an int8 or NF4 base."""
        if importlib.util.find_spec("bitsandbytes") is None:
            raise LeftOut("needs bitsandbytes; install it with pip install bitsandbytes")
        return self.speed(model, max_len, precision, recompute=False)

    def profile(self, model: ModelConfig, max_len: int) -> Row:
        """Lists what one step spends its time on: operators, and on a GPU the kernels below them."""
        from torch.profiler import ProfilerActivity, profile

        steps, batches = Steps(self.cells(model, Precision.BF16)), self.batches(model, max_len)
        for batch in batches[:WARM_UP]:
            steps.take([batch])
        on_gpu = self.device != "cpu"
        self.clock()
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
            steps.take([batches[WARM_UP]])
            self.clock()
        field = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        rows: Any = profiler.key_averages()
        kinds = {"operators": "CPU", "kernels": "CUDA"}
        return {
            kind: _longest([row for row in rows if row.device_type.name == of], field) for kind, of in kinds.items()
        }

    def scoring(self, model: ModelConfig, max_len: int) -> Row:
        """Times the forward pass without gradients, four notes at a time as a run takes them."""
        (classifier,), batches = self.cells(model, Precision.BF16), self.batches(model, max_len)
        classifier.eval()
        with torch.no_grad():
            spent = self.seconds(lambda batch: classifier(pack(batch[0])), batches)
        return {"notes_a_second": NOTES_A_STEP / median(spent), "tokens_a_second": 1 / median(_a_token(spent, batches))}


def _a_token(spent: Sequence[float], batches: Sequence[Batch]) -> list[float]:
    """Divides the seconds of the steps after the warm-up by their real tokens."""
    return [seconds / real for seconds, real in zip(spent, tokens(batches)[WARM_UP:], strict=True)]


def _longest(rows: Sequence[Any], field: str) -> list[Row]:
    """Picks the rows of a profile that took longest themselves."""
    whole = sum(getattr(row, field) for row in rows)
    longest = sorted(rows, key=lambda row: -getattr(row, field))[:ROWS]
    return [
        {"name": row.key[:80], "calls": row.count, "ms": spent / 1000, "share": spent / whole}
        for row in longest
        if (spent := getattr(row, field)) > 0
    ]


def speed_units(speeds: Speeds, model: ModelConfig, lengths: Sequence[int]) -> list[Unit]:
    """Lists every measurement of a model, those that share a base one after the other."""
    units = []

    def add(part: str, measure: Callable[..., Row], key: str = "", values: Sequence[Any] = (None,)) -> None:
        for max_len, value in product(lengths, values):
            settings: Row = {"part": part, "model": model.name, "max_len": max_len}
            more = {key: value} if key else {}
            units.append(Unit({**settings, **more}, partial(measure, model, max_len, **more)))

    add("speed", partial(speeds.speed, precision=Precision.BF16), "recompute", (False, True))
    add("profile", speeds.profile)
    add("scoring", speeds.scoring)
    add("together", speeds.together, "count", (2, 4))
    add("trainer", speeds.trainer, "recompute", (True, False))
    add("quantised", speeds.quantised, "precision", (Precision.INT8, Precision.NF4))
    return units
