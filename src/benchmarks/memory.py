"""Compares the memory plan with what a step really takes.

`python -m src.benchmarks.memory [hidden=1024] [layers=8] [max_len=512] [precision=fp32] [device=cpu]` takes two
optimiser steps on notes that fill `max_len`, in a process of its own for each setting, and prints planned and measured
peaks above what the process held before the base was loaded: resident memory on a CPU, what torch allocated on a GPU.
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from src.benchmarks.fixtures import (
    ALPHA,
    DRGS,
    DROPOUT,
    RANK,
    TARGETS,
    engine,
    random_drgs,
    random_notes,
    small_model,
)
from src.benchmarks.recipe import RATE
from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.errors import UserError
from src.cli.progress import track
from src.config.choices import Precision
from src.config.train import LoraConfig, ModelConfig
from src.estimates.flop import count_parameters
from src.estimates.memory import memory
from src.models.classifier import AdapterBatch, read_together
from src.models.engine.dropout import KeyedDropout
from src.models.engine.packing import pack
from src.training.quiet_libraries import quiet_libraries

SETTINGS = ((4, False), (1, False), (4, True), (1, True))
MIB = 2**20


class Peak:
    """Watches the largest resident memory of this process while entered, in bytes above what it was."""

    def __init__(self) -> None:
        import psutil

        self._process, self._ended = psutil.Process(), threading.Event()
        self.before = self.most = self._process.memory_info().rss
        self._watch = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Peak":
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ended.is_set():
            self.most = max(self.most, self._process.memory_info().rss)
            time.sleep(0.002)

    @property
    def above(self) -> int:
        """Counts bytes above what the process held at first."""
        above: int = self.most - self.before
        return above


def steps(model: ModelConfig, max_len: int, precision: Precision, device: str, notes: int, recompute: bool) -> None:
    """Takes two optimiser steps of four notes of `max_len` tokens."""
    classifier = engine(model, precision, device)
    weights = list(classifier.trained().values())
    optimiser = torch.optim.AdamW(weights, lr=RATE)
    rows = [(note * 50)[:max_len] for note in random_notes(4, max_len, model.vocab_size, 0)]
    for step in range(2):
        for start in range(0, 4, notes):
            some = rows[start : start + notes]
            keys = tuple((0, step, start + index) for index in range(len(some)))
            batches = [AdapterBatch(classifier, pack(some), KeyedDropout(DROPOUT, keys))]
            logits = read_together(batches, recompute=recompute)[0]
            cross_entropy(logits, random_drgs(len(some), step).to(device)).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)


def measured(words: dict[str, Any]) -> int:
    """Measures the peak of one setting in this process, in bytes."""
    device, precision = words["device"], words["precision"]
    model = small_model(words["hidden"], words["layers"])
    tried = (model, words["max_len"], precision, device, words["notes"], words["recompute"])
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        steps(*tried)
        return int(torch.cuda.max_memory_allocated())
    steps(small_model(64, 1), 64, precision, device, 4, False)  # what libraries load at first use is not a step's
    with Peak() as peak:
        steps(*tried)
    return peak.above


def planned(words: dict[str, Any], notes: int, recompute: bool) -> float:
    """Computes the peak that the plan expects, in bytes."""
    from src.config.train import TrainConfig

    model = small_model(words["hidden"], words["layers"])
    cfg = TrainConfig.__new__(TrainConfig)
    cfg.model, cfg.lora = model, LoraConfig(RANK, ALPHA, DROPOUT, TARGETS)
    parameters = count_parameters(cfg, DRGS)
    tokens = notes * words["max_len"]
    on_gpu, precision = words["device"].startswith("cuda"), words["precision"]
    return memory(cfg, parameters, precision, tokens=tokens, recompute=recompute, on_gpu=on_gpu).total


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        defaults = {"hidden": 1024, "layers": 8, "max_len": 512, "precision": Precision.FP32, "device": "cpu"}
        words = read_settings(sys.argv[1:], {**defaults, "notes": 0, "recompute": False})
        quiet_libraries()
        torch.set_num_threads(1)
        if words["notes"]:
            print(json.dumps({"bytes": measured(words)}))
            return
        lines = []
        for notes, recompute in track(SETTINGS, total=len(SETTINGS), what="measuring", unit="setting"):
            peak = _in_a_process({**words, "notes": notes, "recompute": str(recompute).lower()})
            plan = planned(words, notes, recompute)
            lines.append(f"{notes:>5}{recompute!s:>12}{plan / MIB:>12,.0f}{peak / MIB:>12,.0f}{plan / peak - 1:>10.0%}")
        print(" ".join(f"{key}={words[key]}" for key in defaults))
        print(f"{'notes':>5}{'recompute':>12}{'planned MB':>12}{'measured':>12}{'off by':>10}")
        print("\n".join(lines))


def _in_a_process(words: dict[str, Any]) -> int:
    command = [sys.executable, "-m", "src.benchmarks.memory", *(f"{key}={value}" for key, value in words.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.returncode:
        raise UserError(f"measuring failed: {done.stderr.strip().splitlines()[-1:]}")
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


if __name__ == "__main__":
    main()
