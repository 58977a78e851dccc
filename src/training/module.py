"""The Lightning module: loss, optimiser, validation, and checkpoints of what is trained."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from src.config.train import TrainConfig
from src.models.classifier import Classifier
from src.models.schemes import Scheme
from src.shell.errors import UserError
from src.training.batches import Batch


class DrgModule(pl.LightningModule):
    """Trains a classifier's adapters and head under a label scheme.

    AdamW with weight decay and linear decay of the learning rate without warm-up, as the paper's code.
    """

    def __init__(self, classifier: Classifier, scheme: Scheme, cfg: TrainConfig, steps: int) -> None:
        super().__init__()
        self.classifier, self.scheme, self.cfg, self.steps = classifier, scheme, cfg, steps
        self.strict_loading = False  # a checkpoint holds adapters and head; `on_load_checkpoint` checks them
        self.tokens_seen = 0
        self.notes_seen = 0
        self._right = self._seen = 0
        self._loss = 0.0

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.scheme.loss(self.classifier(batch.notes), batch.drg)
        self.tokens_seen += int(batch.notes.ids.numel())
        self.notes_seen += len(batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log("train/lr", self.lr_schedulers().get_last_lr()[0], batch_size=len(batch))
        return loss

    def on_validation_epoch_start(self) -> None:
        self._right = self._seen = 0
        self._loss = 0.0

    def validation_step(self, batch: Batch, index: int) -> None:
        logits = self.classifier(batch.notes)
        self._right += int((self.scheme.predict(logits) == batch.drg).sum())
        self._loss += float(self.scheme.loss(logits, batch.drg)) * len(batch)
        self._seen += len(batch)

    def on_validation_epoch_end(self) -> None:
        self.log("val/accuracy", self._right / self._seen, prog_bar=True)
        self.log("val/loss", self._loss / self._seen)

    def configure_optimizers(self) -> Any:
        weights = [weight for _, weight in self.classifier.trained()]
        optimiser = torch.optim.AdamW(weights, lr=self.cfg.lr, weight_decay=self.cfg.weight_decay)
        decay = LambdaLR(optimiser, lambda step: max(0.0, 1 - step / self.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = {f"classifier.{name}" for name, _ in self.classifier.trained()}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in names}
        checkpoint["seen"] = {"tokens": self.tokens_seen, "notes": self.notes_seen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        names = {f"classifier.{name}" for name, _ in self.classifier.trained()}
        odd = names ^ set(checkpoint["state_dict"])
        if odd:
            raise UserError(f"the checkpoint does not fit this model: {len(odd)} weights differ, as {min(odd)}")
        self.tokens_seen, self.notes_seen = checkpoint["seen"]["tokens"], checkpoint["seen"]["notes"]
