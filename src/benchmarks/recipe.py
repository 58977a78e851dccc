"""Times the paper's recipe on today's Trainer, step by step."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from src.benchmarks.fixtures import Note, padded

RATE = 2e-4
NOTES_A_STEP = 4

Clock = Callable[[], float]


class TrainerSteps:
    """Runs transformers' Trainer over given batches: padded to the longest note, AdamW, clipped at 1."""

    def __init__(self, model: Any, *, recompute: bool, clock: Clock = time.process_time) -> None:
        self.model, self.recompute, self.clock = model, recompute, clock
        if not recompute:
            model.base_model.model.gradient_checkpointing = False

    def seconds(self, batches: Sequence[tuple[list[Note], Tensor]]) -> list[float]:
        """Times each step in seconds: forward, backward, clipping and update; not collating."""
        from transformers import PrinterCallback, Trainer, TrainerCallback

        clock, taken, started = self.clock, [], [0.0]

        class Timed(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                started[0] = clock()

            def on_step_end(self, *args: Any, **kwargs: Any) -> None:
                taken.append(clock() - started[0])

        on_gpu = next(self.model.parameters()).is_cuda
        with tempfile.TemporaryDirectory() as folder:
            arguments = arguments_of(folder, len(batches[0][0]), len(batches), self.recompute, on_gpu)
            rows = [
                {"note": note, "label": int(label)}
                for notes, labels in batches
                for note, label in zip(notes, labels, strict=True)
            ]
            trainer = Trainer(
                self.model,
                arguments,
                train_dataset=rows,
                data_collator=collate,
                callbacks=[Timed()],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return taken


def arguments_of(folder: str, notes: int, steps: int, recompute: bool, on_gpu: bool) -> Any:
    """Builds Trainer's arguments for so many notes a step, on one device."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=notes,
        max_steps=steps,
        learning_rate=RATE,
        weight_decay=0.01,
        train_sampling_strategy="sequential",
        **_recomputing(TrainingArguments, recompute),
        use_cpu=not on_gpu,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    _ = arguments.device  # counts the GPUs, over all of which Trainer would spread a step
    arguments._n_gpu = int(on_gpu)
    return arguments


def recompute_activations(model: Any) -> None:
    """Lets a transformers model keep one hidden state a block."""
    # Renamed in transformers 5.23.
    new, old = "activation_checkpointing_enable", "gradient_checkpointing_enable"
    getattr(model, new if hasattr(model, new) else old)({"use_reentrant": False})


def _recomputing(arguments: Any, recompute: bool) -> dict[str, Any]:
    """Says to Trainer whether it recomputes, by the names that its version has."""
    names = {field.name for field in fields(arguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {name: recompute, f"{name}_kwargs": {"use_reentrant": False} if recompute else None}


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
    """Pads to the longest note of the step, with an attention mask, as the paper's code does."""
    ids, mask = padded([row["note"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["label"] for row in rows])}
