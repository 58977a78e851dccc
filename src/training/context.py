"""What a run works with: cohort, label scheme, tokenizer, base, device."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cohort.prepared import Cohort, read_cohort
from src.cohort.split import Split
from src.config.train import Kind, Precision, TrainConfig
from src.estimates.flop import Parameters, count_parameters
from src.models.bases import load_base, load_tokenizer
from src.models.devices import best_kind, is_cpu, make_current, own
from src.models.labelspace import LabelSpace, check_classes
from src.models.prompts import prompt_template
from src.models.schemes import Scheme, build_scheme
from src.runs.identity import axes
from src.training.batches import TokenisedNotes
from src.training.notes import split_rows, tokenise
from src.training.quiet_libraries import quiet_libraries
from src.training.tokens import NoteTokens, open_tokens


@dataclass(frozen=True)
class Session:
    """A configuration with the cohort and the device it meets; the base is loaded when asked for."""

    cfg: TrainConfig
    cohort: Cohort
    space: LabelSpace
    scheme: Scheme
    tokenizer: Any
    device: str
    precision: Precision

    @property
    def parameters(self) -> Parameters:
        """Parameters of base, adapters and head."""
        return count_parameters(self.cfg, self.scheme.width)

    @property
    def axes(self) -> dict[str, Any]:
        """The grid's axes, flat."""
        return axes(self.cfg, self.parameters.base, self.cohort.protocol)

    @cached_property
    def tokens(self) -> NoteTokens:
        """The tokens of every note of the cohort."""
        return open_tokens(self.cohort, self.tokenizer)

    def notes(self, split: Split) -> TokenisedNotes:
        """The tokenised notes of one split."""
        return tokenise(self.cohort, self.tokens, split, self.tokenizer, self.space, self.cfg)

    def cut(self, split: Split) -> NDArray[np.bool_]:
        """Whether each note of one split is longer than what the model reads of it."""
        rows = split_rows(self.cohort, split, self.cfg.data.limit)["row"].to_numpy()
        around = prompt_template(self.tokenizer, self.cfg.prompt, self.cfg.max_len).tokens
        return self.tokens.lengths(rows) + around > self.cfg.max_len

    def base(self) -> torch.nn.Module:
        """The frozen base on the session's device."""
        return load_base(self.cfg.model, self.precision, self.device)


def open_session(cfg: TrainConfig) -> Session:
    """Reads the cohort and the tokenizer, and decides device and precision.

    Raises:
        UserError: one of them cannot be had.
    """
    quiet_libraries()
    if cfg.model.kind is not Kind.LLAMA:
        raise UserError(f"model={cfg.model.name}: is no LLaMA, and has no base, adapters or tokens")
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    cohort = read_cohort(Path(cfg.data.dir))
    check_classes(split_rows(cohort, Split.TRAIN, cfg.data.limit)["drg"].to_list(), f"data.dir={cfg.data.dir}")
    space = LabelSpace.from_labels(cohort.labels)
    scheme = build_scheme(cfg.labels, space, cfg.severity_weight)
    device = pick_device(cfg)
    make_current(device)
    keep_order(cfg)
    return Session(cfg, cohort, space, scheme, load_tokenizer(cfg.model), device, pick_precision(cfg, device))


def pick_device(cfg: TrainConfig) -> str:
    """The device that `device=` names, this process's own of several; `auto` is the GPU when there is one."""
    device = best_kind() if cfg.device == "auto" else cfg.device
    return own(device, local_rank(cfg))


def local_rank(cfg: TrainConfig) -> int:
    """Which of the processes of its machine this one is."""
    if cfg.devices * cfg.nodes == 1:
        return 0
    from src.training.cluster import cluster

    return int(cluster(cfg).local_rank())


def keep_order(cfg: TrainConfig) -> None:
    """Lets operators of a GPU add up in any order, or not, as `deterministic=` says; a CPU's never do.

    In any order are added: FlashAttention's gradient of queries, and scatters of baselines. An operator that torch has
    in no other way raises, and says which it is.
    """
    if cfg.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(cfg.deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # it is written in full before it is read


def pick_precision(cfg: TrainConfig, device: str) -> Precision:
    """The base's number format; `auto` is bf16 on a GPU and fp32 on a CPU."""
    if cfg.precision is not Precision.AUTO:
        return cfg.precision
    return Precision.FP32 if is_cpu(device) else Precision.BF16
