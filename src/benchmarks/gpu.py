"""Asks a GPU all about this project, in one command of minutes: checks, speeds and peaks, beside Trainer.

`python -m src.benchmarks.gpu [models=llama7b,llama13b] [max_len=512,1024] [steps=12] [device=cuda] [parts=all] [out=]`
needs torch, transformers and peft alone. Weights are random, in bf16, r 8, four notes a step of the paper's lengths.
Every result is a JSON object on a line of standard output, and of the file `out`, as it comes. A part that fails is
such a line too, the others still run, and the exit status is 1 in the end. `parts=` takes some of machine, attention,
kernels, equality, speed, profile, scoring, together, trainer, quantised and train, which run in this order.
`device=cpu` takes all of them with a tiny model, so that only the card is missing.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from src.benchmarks.fixtures import small_model
from src.benchmarks.gpu_checks import attention_units, equality_units, kernel_units, machine_units
from src.benchmarks.gpu_lines import Lines, Unit
from src.benchmarks.gpu_run import train_units
from src.benchmarks.gpu_speed import Speeds, speed_units
from src.benchmarks.settings import read_settings
from src.cli.command import report_user_errors
from src.cli.compose import CONF
from src.cli.errors import UserError, raise_all
from src.cli.progress import track
from src.config.choices import Kind, Weights
from src.config.train import ModelConfig
from src.training.quiet_libraries import quiet_libraries

CHECKS = ("machine", "attention", "kernels", "equality")
SPEEDS = ("speed", "profile", "scoring", "together", "trainer", "quantised")
PARTS = (*CHECKS, *SPEEDS, "train")

TINY = "tiny"
"""A model that no file of `conf/model` describes: two blocks of width 64."""


@dataclass(frozen=True)
class Order:
    """Holds what a command asks for.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        models: architectures with random weights.
        lengths: tokens to which notes are cut.
        steps: that are timed.
        parts: to run.
        out: a file for the results as well.
    """

    device: str
    models: list[ModelConfig]
    lengths: list[int]
    steps: int
    parts: list[str]
    out: Path | None


def read_order(words: Sequence[str]) -> Order:
    """Reads the command's words over the defaults of its device.

    Raises:
        UserError: a key is not known, or values are not what they must be; all of them are named.
    """
    defaults: dict[str, Any] = {"models": "llama7b,llama13b", "max_len": "512,1024", "steps": 12}
    defaults |= {"device": "cuda", "parts": "all", "out": ""}
    if read_settings(words, defaults)["device"] == "cpu":
        defaults |= {"models": TINY, "max_len": "256,512"}
    values = read_settings(words, defaults)
    steps, problems, models = values["steps"], [], []
    for name in values["models"].split(","):
        try:
            models.append(model_of(name))
        except UserError as error:
            problems.append(str(error))
    lengths = [int(text) for text in values["max_len"].split(",") if text.isdecimal()]
    if len(lengths) <= values["max_len"].count(",") or min(lengths) < 16:
        problems.append(f"max_len={values['max_len']}: must be whole numbers of at least 16, as 512,1024")
    for model in models:
        if lengths and max(lengths) > model.context:
            problems.append(f"max_len={max(lengths)}: above the context of {model.name}, which is {model.context}")
    if steps < 1:
        problems.append(f"steps={steps}: must be a whole number of at least 1")
    device, _, number = values["device"].partition(":")
    if device not in ("cpu", "cuda") or (":" in values["device"] and not (device == "cuda" and number.isdecimal())):
        problems.append(f"device={values['device']}: must be cpu, cuda or cuda:N")
    parts = list(PARTS) if values["parts"] == "all" else values["parts"].split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        problems.append(f"parts={','.join(unknown)}: must be all, or some of {', '.join(PARTS)}")
    raise_all(problems, "src.benchmarks.gpu")
    out = Path(values["out"]) if values["out"] else None
    return Order(values["device"], models, lengths, steps, parts, out)


def model_of(name: str) -> ModelConfig:
    """Reads the architecture that `model=` names, with random weights and without Hydra.

    Raises:
        UserError: there is no such model, or it is no LLaMA.
    """
    import yaml

    if name == TINY:
        return replace(small_model(64, 2), name=TINY)
    files = sorted((CONF / "model").glob("*.yaml"))
    described = {file.stem: yaml.safe_load(file.read_text("utf-8"))["model"] for file in files}
    llamas = {
        key: values
        for key, values in described.items()
        if values.get("kind", Kind.LLAMA) == Kind.LLAMA and values["hidden_size"]
    }
    if name not in llamas:
        raise UserError(f"models={name}: must be {TINY} or a LLaMA of conf/model, which are {', '.join(llamas)}")
    return ModelConfig(**{**llamas[name], "weights": Weights.RANDOM})


def choose_device(device: str) -> str:
    """Names the device as torch does, and hides every other GPU from this process and what it starts.

    Raises:
        UserError: torch sees no such GPU.
    """
    if device == "cpu":
        torch.set_num_threads(1)
        return device
    number = int(device.partition(":")[2] or 0)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = seen.split(",") if seen else []
    if seen is None or number < len(names):
        os.environ["CUDA_VISIBLE_DEVICES"] = names[number] if names else str(number)
    if (seen is not None and number >= len(names)) or not torch.cuda.is_available():
        reason = "torch sees no such GPU; device=cpu takes every part with a tiny model"
        raise UserError(f"src.benchmarks.gpu: device={device}: {reason}")
    return "cuda"


def units(order: Order, device: str, speeds: Speeds) -> list[Unit]:
    """Lists every measurement of the parts that are asked for."""
    small = order.models[0] if device == "cpu" else None
    made = machine_units(device, order.models[0]) + attention_units(device) + kernel_units(device)
    made += equality_units(device, small)
    for model in order.models:
        made += speed_units(speeds, model, order.lengths)
    made += train_units(device)
    return [unit for unit in made if unit.settings["part"] in order.parts]


def run(order: Order) -> int:
    """Runs what is asked for and writes its lines; returns the exit status."""
    device = choose_device(order.device)
    speeds, lines, differs = Speeds(device, order.steps), Lines(order.out), ""
    planned = units(order, device, speeds)
    with redirect_stdout(sys.stderr):  # whatever a library prints is no result
        for unit in track(planned, total=len(planned), what="src.benchmarks.gpu", unit="measurement"):
            part = unit.settings["part"]
            if part in SPEEDS and differs:
                lines.write({**unit.settings, "left_out": f"speeds of another computation are not shown: {differs}"})
                continue
            if part not in SPEEDS:
                speeds.drop()
            row = lines.attempt(unit)
            if "error" in row:
                speeds.drop()
            speeds.free()
            if part == "equality" and row.get("error") == "Differs":
                differs = row["reason"]
    lines.close()
    return 1 if lines.failed else 0


def main() -> None:
    """Runs the command."""
    with report_user_errors():
        order = read_order(sys.argv[1:])
        quiet_libraries()
        status = run(order)
    sys.exit(status)


if __name__ == "__main__":
    main()
