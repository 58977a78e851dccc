"""Holds what all baselines share: they are trained anew when interrupted, and saved whole."""

from abc import abstractmethod
from pathlib import Path

from safetensors import SafetensorError

from src.cli.files import exchanging_folder
from src.cli.json_files import REMADE, Damaged
from src.cli.signals import Stop
from src.cohort.split import Split
from src.config.train import TrainConfig
from src.training.predictor import Predictor, Scores


class Baseline(Predictor):
    """Reads text or the facts of admissions, and has no base."""

    def scores(self, split: Split, stop: Stop) -> Scores:
        return self.score(self.data.notes(split).rows, stop)

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes what `read` needs into a folder that is there."""

    @abstractmethod
    def read(self, folder: Path) -> None:
        """Becomes what was written; what its libraries raise of damaged files passes."""

    def save(self, folder: Path) -> None:
        # One that is there is of an interrupted run.
        with exchanging_folder(folder, ours=Path.is_dir, instead="remove it") as tmp:
            self.write(tmp)

    def load(self, folder: Path) -> None:
        try:
            self.read(folder)
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise Damaged(folder, type(error).__name__, REMADE) from None

    def keep_stage(self) -> None:
        """Does nothing: an interrupted baseline is trained anew."""

    def plan_lines(self) -> list[str]:
        data, cfg = self.data, self.data.cfg
        counts = ", ".join(f"{len(data.notes(split)):,} {split}" for split in Split)
        facts = [] if data.facts is None else [column.name for column in data.facts if column.count()][1:]
        reads = f"text and {', '.join(facts)}" if facts else "text"
        return [
            f"cohort {cfg.cohort_dir}: {counts} notes, {len(data.space.codes)} {data.space.kind}",
            f"model={cfg.model.name} reads {reads}",
        ]

    @classmethod
    def out_of_memory_line(cls, cfg: TrainConfig) -> str:
        return f"out of memory: model={cfg.model.name} needs less with data.limit, a smaller batch_size or max_len"
