"""Training speed and memory of 7B and 13B on one GPU, beside transformers' Trainer, in one command of minutes.

`python -m src.benchmarks.gpu [models=llama7b,llama13b] [max_len=512,1024] [steps=12] [baseline=true]`: random weights
in bf16, r 8, four notes a step of the paper's lengths. Real tokens a second by CUDA events after warm-up; the same
steps by Trainer + peft with recomputed activations; peak memory beside the plan. First every attention backend at hand
is held against the note-by-note one, and the losses of a small model against a plain padded loop in fp32.
"""

import gc
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from src.benchmarks.material import ALPHA, DRGS, DROPOUT, RANK, TARGETS, asked, engine, random_drgs, random_notes, stock
from src.benchmarks.recipe import RATE, TrainerSteps
from src.benchmarks.training import NOTES_A_STEP, Batch, batches_of, equality_on, tokens, waste
from src.config.train import LoraConfig, ModelConfig, Precision, TrainConfig, Weights
from src.models.attention import Backend, attend, pick_backend
from src.models.classifier import Asked, read_together
from src.models.estimate import count_parameters, memory, step_flop
from src.models.noise import Noise
from src.models.packing import pack
from src.shell.command import told_to_the_user
from src.shell.errors import UserError
from src.shell.overrides import CONF
from src.training.progress import quiet_libraries

DEVICE = "cuda"
WARM_UP = 3
GIB = 2**30


class GpuSteps:
    """This project's step on a GPU, timed by CUDA events."""

    def __init__(self, model: ModelConfig) -> None:
        self.classifier = engine(model, Precision.BF16, DEVICE)
        self.weights = list(self.classifier.trained().values())
        self.optimiser = torch.optim.AdamW(self.weights, lr=RATE, weight_decay=0.01)

    def seconds(self, batches: Sequence[Batch]) -> list[float]:
        """Seconds of each step."""
        marks = []
        for step, (notes, drgs) in enumerate(batches):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            keys = tuple((0, step, place) for place in range(len(notes)))
            logits = read_together([Asked(self.classifier, pack(notes), Noise(DROPOUT, keys))])[0]
            cross_entropy(logits, drgs.to(DEVICE)).backward()
            torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            end.record()
            marks.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000 for start, end in marks]


def gpu_clock() -> float:
    """Seconds, once the GPU has done what it was given."""
    import time

    torch.cuda.synchronize()
    return time.perf_counter()


def backends() -> None:
    """Holds every backend at hand against the note-by-note one.

    Raises:
        UserError: one of them attends differently.
    """
    torch.manual_seed(0)
    lengths = (200, 1, 77, 300)
    q, k, v = (torch.randn(sum(lengths), 8, 128, device=DEVICE, dtype=torch.bfloat16) for _ in range(3))
    last = torch.tensor(lengths).cumsum(0) - 1
    for backend in dict.fromkeys((pick_backend(DEVICE, torch.bfloat16), Backend.VARLEN)):
        for ends in (False, True):
            query = q[last] if ends else q
            how: dict[str, Any] = {"scale": 128**-0.5, "ends": ends}
            expected = attend(query, k, v, lengths, backend=Backend.NOTES, **how)
            worst = float((attend(query, k, v, lengths, backend=backend, **how) - expected).abs().max())
            print(f"attention {backend}{', ends' if ends else ''}: largest difference {worst:.1e}", flush=True)
            if worst > 2e-2:
                raise UserError(f"attention by {backend} differs by {worst:.1e}")


def measure(name: str, max_len: int, steps: int, baseline: bool) -> None:
    """Speed and memory of one model at one length."""
    model = model_of(name)
    notes = random_notes(NOTES_A_STEP * (steps + WARM_UP), max_len, model.vocab_size, 1)
    batches = batches_of(notes, random_drgs(len(notes), 1))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    ours = GpuSteps(model)
    pace = _pace(ours.seconds(batches), batches)
    peak = torch.cuda.max_memory_allocated()
    cfg = TrainConfig.__new__(TrainConfig)
    cfg.model, cfg.lora = model, LoraConfig(RANK, ALPHA, DROPOUT, TARGETS)
    parameters = count_parameters(cfg, DRGS)
    longest = max(tokens(batches))
    plan = memory(cfg, parameters, Precision.BF16, tokens=longest, recompute=False, on_gpu=True).total
    rate = step_flop(model, parameters, 1, recompute=False) / pace
    speed = f"{1 / pace:,.0f} real tokens/s, {rate / 1e12:.0f} useful TFLOP/s"
    memory_told = f"peak {peak / GIB:.1f} GiB, planned {plan / GIB:.1f} ({plan / peak - 1:+.0%})"
    print(f"{name} max_len={max_len}, {waste(batches):.0%} padding in random steps: {speed}; {memory_told}", flush=True)
    del ours
    gc.collect()
    torch.cuda.empty_cache()
    if not baseline:
        return
    trainer = TrainerSteps(stock(model, Precision.BF16, DEVICE), recompute=True, clock=gpu_clock)
    slow = _pace(trainer.seconds(batches), batches)
    told = f"{1 / slow:,.0f} real tokens/s; this is {slow / pace:.2f} times"
    print(f"  Trainer + peft, recomputed, bf16 base: {told}", flush=True)
    del trainer
    gc.collect()


def model_of(name: str) -> ModelConfig:
    """The architecture that `model=` names, with random weights."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
        values = OmegaConf.to_container(hydra_compose("train", [f"model={name}"])["model"])
    if not isinstance(values, dict):
        raise UserError("model: not a configuration")
    return ModelConfig(**{**{str(key): value for key, value in values.items()}, "weights": Weights.RANDOM})


def _pace(seconds: Sequence[float], batches: Sequence[Batch]) -> float:
    """Median seconds a real token after the warm-up."""
    return median([took / real for took, real in zip(seconds, tokens(batches), strict=True)][WARM_UP:])


def main() -> None:
    """The command."""
    with told_to_the_user():
        known = {"models": "llama7b,llama13b", "max_len": "512,1024", "steps": 12, "baseline": "true"}
        words = asked(sys.argv[1:], known)
        if not torch.cuda.is_available():
            raise UserError("src.benchmarks.gpu: needs a CUDA GPU, and torch sees none")
        quiet_libraries()
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
        backends()
        worst = equality_on(DEVICE)
        print(f"losses of 10 steps in fp32, hidden 256: largest difference {worst:.1e}", flush=True)
        if not worst <= 1e-4:
            raise UserError(f"the losses differ by {worst:.1e}; speeds of another computation are not shown")
        for name in str(words["models"]).split(","):
            for max_len in str(words["max_len"]).split(","):
                measure(name, int(max_len), int(words["steps"]), words["baseline"] == "true")


if __name__ == "__main__":
    main()
