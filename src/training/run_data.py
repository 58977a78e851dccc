"""Holds what a run works with: its configuration, the cohort, the label space, and what follows from them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from src.cli.errors import UserError
from src.cohort.admissions import read_admissions
from src.cohort.prepared import Cohort, read_cohort
from src.cohort.split import Split
from src.config.choices import Loss, Precision
from src.config.train import TrainConfig
from src.estimates.flop import Parameters, count_parameters
from src.models.bases import load_base, load_tokenizer
from src.models.devices import best_kind, is_cpu, lacks_bf16, make_current, own
from src.models.labelspace import LabelSpace, check_classes
from src.models.losses import TrainingLoss
from src.models.prompts import PromptTemplate, prompt_template
from src.models.schemes import Scheme, build_scheme
from src.runs.predictions import Predictions
from src.training.batches import TokenisedNotes
from src.training.notes import split_rows, tokenise
from src.training.quiet_libraries import quiet_libraries
from src.training.tokens import NoteTokens, open_tokens
from src.training.warm_start import WarmStart, open_warm_start


@dataclass(frozen=True, eq=False)
class Notes:
    """Holds B notes of a split: their rows, and the index of each note's DRG in the label space."""

    rows: pl.DataFrame
    """Columns of `notes.parquet`, with those of `admissions.parquet` where the model reads them."""
    drg: NDArray[np.int64]
    """[B]."""

    @property
    def texts(self) -> list[str]:
        """Lists what the notes say."""
        return self.rows["text"].to_list()

    def __len__(self) -> int:
        return len(self.drg)


@dataclass(frozen=True, eq=False)
class RunData:
    """Holds a configuration with the cohort and the device that it meets.

    What only some systems need (tokenizer, tokens, base, the admissions' facts) is read when it is asked for.
    """

    cfg: TrainConfig
    cohort: Cohort
    space: LabelSpace

    @cached_property
    def scheme(self) -> Scheme:
        """Is what the logits mean, with the loss that `loss=` names."""
        cfg = self.cfg
        if cfg.loss is Loss.CROSS_ENTROPY:
            return self.validation_scheme
        drg_notes = np.bincount(self.targets(Split.TRAIN), minlength=len(self.space.codes))
        training_loss = TrainingLoss(cfg.loss, cfg.loss_strength, drg_notes)
        return build_scheme(cfg.labels, self.space, cfg.severity_weight, training_loss)

    @cached_property
    def validation_scheme(self) -> Scheme:
        """Is the scheme with plain cross-entropy, by which runs of different losses compare."""
        return build_scheme(self.cfg.labels, self.space, self.cfg.severity_weight)

    @cached_property
    def warm_start(self) -> WarmStart | None:
        """Is what the run starts from, as `init_from=` says; None for fresh adapters and a fresh head.

        Raises:
            UserError: that run's weights do not fit.
        """
        return open_warm_start(self.cfg, self.cohort, self.validation_scheme)

    @cached_property
    def device(self) -> str:
        """Names this process's device; the first time, makes it torch's current one and follows `deterministic=`."""
        device = pick_device(self.cfg)
        make_current(device)
        keep_order(self.cfg)
        return device

    @property
    def precision(self) -> Precision:
        """Is the base's number format."""
        return pick_precision(self.cfg, self.device)

    @cached_property
    def tokenizer(self) -> Any:
        """Is the tokenizer of the base."""
        return load_tokenizer(self.cfg.model)

    @property
    def offset_tokenizer(self) -> Any:
        """Is the tokenizer of the base, which says where in a text its tokens are.

        Raises:
            UserError: it does not.
        """
        model, tokenizer = self.cfg.model, self.tokenizer
        if not tokenizer.is_fast:
            raise UserError(
                f"model={model.name} model.path={model.path}: its tokenizer does not say where in a text a token ends; "
                "take a folder with tokenizer.json"
            )
        return tokenizer

    @cached_property
    def tokens(self) -> NoteTokens:
        """Holds the tokens of every note of the cohort."""
        return open_tokens(self.cohort, self.tokenizer)

    @property
    def parameters(self) -> Parameters:
        """Counts the parameters of base, adapters and head."""
        return count_parameters(self.cfg, self.scheme.width)

    @cached_property
    def facts(self) -> pl.DataFrame | None:
        """Holds the facts of every admission; is None for a system that reads notes only.

        Raises:
            UserError: the system needs them, and the cohort has none.
        """
        cfg = self.cfg
        if not cfg.model.kind.reads_facts:
            return None
        if (facts := read_admissions(self.cohort.folder)) is None:
            raise UserError(
                f"data.dir={cfg.cohort_dir}: no admissions.parquet, which model={cfg.model.name} needs; "
                "prepare the cohort again from a folder with hosp/admissions and hosp/patients"
            )
        return facts

    def notes(self, split: Split) -> Notes:
        """Reads the notes of one split as text, with their admissions' facts where the system reads those.

        Raises:
            UserError: the split holds no note.
        """
        rows = self.cohort.notes(split, self.cfg.data.limit)
        if rows.is_empty():
            raise UserError(
                f"data.dir={self.cfg.cohort_dir}: no note in the {split} split; prepare more, or other shares"
            )
        if self.facts is not None:
            rows = rows.join(self.facts, "hadm_id", how="left", maintain_order="left")
        return Notes(rows, self._indices(rows))

    def tokenised(self, split: Split) -> TokenisedNotes:
        """Returns the notes of one split as the base reads them, cut to `max_len` tokens."""
        return tokenise(self.cohort, self.tokens, split, self.tokenizer, self.space, self.cfg)

    def targets(self, split: Split) -> NDArray[np.int64]:
        """Returns the index of the DRG of each note of one split, [B], without reading a note."""
        return self._indices(split_rows(self.cohort, split, self.cfg.data.limit))

    def cut(self, split: Split) -> NDArray[np.bool_]:
        """Says of each note of one split whether it is longer than what the base reads of it, [B]."""
        rows = split_rows(self.cohort, split, self.cfg.data.limit)["row"].to_numpy()
        return self.tokens.lengths(rows) + self.template.tokens > self.cfg.max_len

    @cached_property
    def template(self) -> PromptTemplate:
        """Says what stands around a note, and how much of it is kept."""
        return prompt_template(self.tokenizer, self.cfg.prompt, self.cfg.max_len)

    @cached_property
    def tokenising(self) -> Lock:
        """Is held by the thread that tokenises texts: a cut is a setting of the tokenizer, and not of a call."""
        return Lock()

    def cut_texts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Counts the tokens of each text that the base does not read, [B]."""
        most = self.template.max_note_tokens
        lengths = np.array([len(ids) for ids in self.whole_ids(tuple(texts))], dtype=np.int64)
        return np.maximum(lengths - most, 0)

    @cached_property
    def whole_ids(self) -> Callable[[tuple[str, ...]], list[list[int]]]:
        """Tokenises whole texts; once for who counts their tokens and then scores them, also where more come between.

        Those between are the next, which are counted while these are scored.
        """

        @lru_cache(maxsize=2)
        def tokenised(texts: tuple[str, ...]) -> list[list[int]]:
            if not texts:
                return []
            with self.tokenising:
                return list(self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"])

        return tokenised

    def kept_texts(self, texts: Sequence[str]) -> list[str]:
        """Cuts each text where the base stops reading it.

        Raises:
            UserError: the tokenizer does not say where in a text its tokens are.
        """
        tokenizer, most = self.offset_tokenizer, self.template.max_note_tokens
        options = {"add_special_tokens": False, "truncation": True, "return_offsets_mapping": True}
        with self.tokenising:
            ends = tokenizer(list(texts), max_length=most, **options)["offset_mapping"]
        return [text[: kept[-1][1]] if kept else "" for text, kept in zip(texts, ends, strict=True)]

    def predictions(self, split: Split, heads: Mapping[str, NDArray[np.float32]]) -> Predictions:
        """Puts the scores of one split's notes beside their ids and labels."""
        rows = self.cohort.notes(split, self.cfg.data.limit)
        return Predictions(rows["subject_id"].to_numpy(), rows["hadm_id"].to_numpy(), self._indices(rows), heads)

    def base(self) -> torch.nn.Module:
        """Loads the frozen base onto the device."""
        return load_base(self.cfg.model, self.precision, self.device)

    def _indices(self, rows: pl.DataFrame) -> NDArray[np.int64]:
        return np.array([self.space.index[code] for code in rows["drg"]], dtype=np.int64)


def open_data(cfg: TrainConfig) -> RunData:
    """Reads the cohort of a configuration.

    Raises:
        UserError: it cannot be read, or its training notes are of fewer than two classes.
    """
    quiet_libraries()
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    cohort = read_cohort(cfg.cohort_dir)
    check_classes(split_rows(cohort, Split.TRAIN, cfg.data.limit)["drg"].to_list(), f"data.dir={cfg.cohort_dir}")
    data = RunData(cfg, cohort, LabelSpace.from_labels(cohort.labels))
    _ = data.facts  # refused now where the cohort has none
    return data


def pick_device(cfg: TrainConfig) -> str:
    """Names the device that `device=` asks for, this process's own of several; `auto` is the GPU when there is one."""
    device = best_kind() if cfg.device == "auto" else cfg.device
    return own(device, local_rank(cfg))


def local_rank(cfg: TrainConfig) -> int:
    """Says which of the processes of its machine this one is."""
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
    """The base's number format; `auto` is fp32 on a CPU, and bf16 on a GPU, or fp16 where that has none."""
    if cfg.precision is not Precision.AUTO:
        return cfg.precision
    if is_cpu(device):
        return Precision.FP32
    return Precision.FP16 if lacks_bf16(device) else Precision.BF16
