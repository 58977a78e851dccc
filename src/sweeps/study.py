"""Keeps the trials of a search in Optuna's journal, a file that many processes write, on a shared file system too."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.cli.errors import UserError
from src.cli.files import private_folder
from src.cli.search_space import Dimension
from src.config.sweeper import SearchConfig
from src.runs.status import SWEEPS
from src.runs.trial_record import TrialEnd, TrialRecord

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

SLOT, STEPS, PRUNED, REASON = "slot", "steps", "pruned", "reason"
"""Attributes of a trial: the slot that it fills, the steps at which it was validated, after how many validations it was
stopped, and why it failed."""


class Study:
    """Holds a search's trials: one a slot, asked for by whoever works on the slot first.

    A trial is created with its slot in one line of the journal, so that a worker killed at any time leaves either
    nothing or a trial that the slot's next worker finds. The journal holds hyperparameters, metrics of the validation
    notes, numbers of steps and our own reasons, nothing else.
    """

    def __init__(self, out: Path, name: str, settings: SearchConfig, seed: int, slot: int = 0) -> None:
        """Opens the journal, or begins it.

        Args:
            out: folder that holds the runs.
            name: of the search.
            settings: metric and halving.
            seed: of the sampler, with the slot.
            slot: the worker's.

        Raises:
            UserError: Optuna is not installed.
        """
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
        except ImportError:
            raise UserError("a search needs Optuna: pip install 'drg-llama[search]'") from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        private_folder(out / SWEEPS)
        # The lock is a link to the file that it locks; to see it age, the link must lead there from its own folder.
        journal = str((out / SWEEPS / f"{name}.journal").absolute())
        backend = JournalFileBackend(journal, lock_obj=JournalFileSymlinkLock(journal))
        self._storage = optuna.storages.JournalStorage(backend)
        pruner: Any = optuna.pruners.NopPruner()
        if settings.halving:
            pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=settings.halving)
        sampler_seed = int.from_bytes(hashlib.sha256(f"{seed} {slot}".encode()).digest()[:4], "big")
        self._study = optuna.create_study(
            storage=self._storage,
            sampler=optuna.samplers.TPESampler(seed=sampler_seed),
            pruner=pruner,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
        )
        self.name, self.slot = name, slot
        self._states = optuna.trial.TrialState

    def trials(self) -> dict[int, "FrozenTrial"]:
        """Maps each slot to its trial; those that nobody has begun are left out."""
        return {trial.user_attrs[SLOT]: trial for trial in self._study.get_trials(deepcopy=False)}

    def begin(self, space: Sequence[Dimension]) -> "SlotTrial":
        """Goes on with the slot's trial, or asks the sampler for one."""
        from optuna.trial import Trial, create_trial

        if begun := self.trials().get(self.slot):
            trial_id = begun._trial_id
        else:
            template = create_trial(state=self._states.RUNNING, user_attrs={SLOT: self.slot})
            trial_id = self._storage.create_new_trial(self._storage.get_study_id_from_name(self.name), template)
        trial = Trial(self._study, trial_id)
        return SlotTrial(trial, [suggested(trial, dimension) for dimension in space])

    def tell(self, slot: int, record: TrialRecord) -> bool:
        """Tells the sampler how the trial of a slot ended; says whether it had not been told."""
        trial = self.trials()[slot]
        if trial.state.is_finished():
            return False
        state = {
            TrialEnd.COMPLETE: self._states.COMPLETE,
            TrialEnd.PRUNED: self._states.PRUNED,
            TrialEnd.FAILED: self._states.FAIL,
        }[record.end]
        if record.reason:
            self._storage.set_trial_user_attr(trial._trial_id, REASON, record.reason)
        value = record.value if record.end is TrialEnd.COMPLETE else None
        self._study.tell(trial.number, value, state=state, skip_if_finished=True)
        return True


class SlotTrial:
    """Holds the trial that a worker works on.

    Attributes:
        words: what the sampler chose.
    """

    def __init__(self, trial: "Trial", words: list[str]) -> None:
        self._trial, self.words = trial, words

    @property
    def number(self) -> int:
        """Is the trial's number in the journal."""
        return self._trial.number

    @property
    def steps(self) -> list[int]:
        """Lists the steps at which it was validated."""
        return list(self._trial.user_attrs.get(STEPS, []))

    @property
    def last_value(self) -> float | None:
        """Is the metric at its last validation."""
        values = self._values
        return values[max(values)] if values else None

    @property
    def pruned(self) -> int:
        """Says after how many validations it was stopped; 0 where it was not."""
        return int(self._trial.user_attrs.get(PRUNED, 0))

    def report(self, step: int, value: float, last: bool) -> bool:
        """Reports a validation, once whatever is repeated after a kill; says whether the trial is to stop.

        Args:
            step: optimiser steps done.
            value: the metric.
            last: whether the trial ends with it anyway.
        """
        if step not in self.steps:
            self._trial.set_user_attr(STEPS, [*self.steps, step])
        number = self.steps.index(step) + 1
        if number not in self._values and math.isfinite(value):
            self._trial.report(value, number)
        if not last and self._trial.should_prune():
            self._trial.set_user_attr(PRUNED, number)
        return self.pruned > 0

    @property
    def _values(self) -> dict[int, float]:
        return self._trial.storage.get_trial(self._trial._trial_id).intermediate_values


def suggested(trial: "Trial", dimension: Dimension) -> str:
    """Asks the sampler for a value of one key, and writes its word; what an earlier start was given stays."""
    key, low, high = dimension.key, dimension.low, dimension.high
    if dimension.choices:
        return dimension.word(trial.suggest_categorical(key, dimension.choices))
    if dimension.whole:
        return dimension.word(trial.suggest_int(key, int(low), int(high), log=dimension.log))
    return dimension.word(trial.suggest_float(key, low, high, log=dimension.log))
