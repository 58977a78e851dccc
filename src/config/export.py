"""The configuration of `python -m src.export`."""

from dataclasses import dataclass
from pathlib import Path

from src.config.train import Precision


@dataclass
class ExportConfig:
    """Writes a finished run as a folder that plain transformers loads, with its adapter in peft's format."""

    run: str
    """Folder of a finished run."""
    out: str
    """Folder for the model; absent or empty."""
    data_dir: str | None
    """Where the prepared cohort lies now; null takes the place that the run's record names."""
    precision: Precision
    """Number format of the written weights: `auto`, `fp32` or `bf16`."""
    notes: int
    """Test notes on which the written model must give the run's logits before it takes its place."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""

    def problems(self) -> list[str]:
        """One line for each value that cannot be."""
        found = []
        if not (Path(self.run) / "result.json").is_file():
            found.append(f"run={self.run}: no result.json there; it is the folder of a finished run, as runs/NAME")
        out = Path(self.out)
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            found.append(f"out={self.out}: not empty; name another folder, or remove it first")
        if self.precision.is_quantised:
            found.append(f"precision={self.precision}: adapters are merged into whole weights; write fp32 or bf16")
        if self.notes < 1:
            found.append(f"notes={self.notes}: must be at least 1")
        return found
