"""A network that is tuned in full under a label scheme: what CAML and BERT have in common."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from src.baselines import bert, caml
from src.baselines.data import Material, Notes
from src.baselines.linear import Scores
from src.baselines.loop import Encoded, score, tune
from src.cohort.split import Split
from src.config.train import Kind
from src.models.devices import make_current
from src.models.schemes import build_scheme
from src.training.context import keep_order, pick_device

KINDS: dict[Kind, tuple[ModuleType, Any]] = {Kind.CAML: (caml, caml.Words), Kind.BERT: (bert, bert.Pieces)}
"""For each kind where its network is built, and what turns text to ids."""


class Tuned:
    """A network with what turns text to ids for it, and a label scheme."""

    def __init__(self, material: Material) -> None:
        self.material, cfg = material, material.cfg
        self.kind, self.reader = KINDS[cfg.model.kind]
        self.scheme = build_scheme(cfg.labels, material.space, cfg.severity_weight)
        self.device = pick_device(cfg)
        make_current(self.device)
        keep_order(cfg)
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        self.ids: Any = None
        self.network = nn.Module()

    def fit(self, log: Any) -> dict[str, int]:
        train, validation = (self.material.notes(split) for split in (Split.TRAIN, Split.VALIDATION))
        cfg = self.material.cfg
        self.ids = self.reader.of(train.texts, cfg)
        self.network = self.kind.build(self.ids, train.texts, self.scheme.width, cfg).to(self.device)
        steps = tune(
            self.network, self.scheme, (self._encoded(train), self._encoded(validation)), cfg, self.device, log
        )
        return {"trainable_parameters": sum(weight.numel() for weight in self.network.parameters()), "steps": steps}

    def scores(self, notes: Notes) -> Scores:
        return score(self.network, self.scheme, self._encoded(notes), self.material.cfg, self.device, "scores")

    def save(self, folder: Path) -> None:
        self.ids.save(folder)
        weights = {name: value.detach().cpu().contiguous() for name, value in self.network.state_dict().items()}
        save_file(weights, folder / "network.safetensors")

    def load(self, folder: Path) -> None:
        self.ids = self.reader.read(folder, self.material.cfg)
        self.network = self.kind.rebuild(self.ids, self.scheme.width, self.material.cfg)
        self.network.load_state_dict(load_file(folder / "network.safetensors"))
        self.network.to(self.device)

    def _encoded(self, notes: Notes) -> Encoded:
        return Encoded(self.ids.encode(notes.texts), notes.drg)
