"""Builds a synthetic hospital: `python -m src.hospital out=DIR admissions=20000 seed=0`."""

from dataclasses import dataclass
from pathlib import Path

from src.cli.command import command


@dataclass
class HospitalConfig:
    """Builds a synthetic hospital in MIMIC-IV's file formats."""

    out: str
    """Folder for the hospital; must not hold anything yet."""
    admissions: int
    seed: int
    test_share: float
    """Share of patients whose notes use held-out phrasings; the share that `src.prepare` will test on."""
    split_seed: int
    """The seed that `src.prepare` will split by."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        problems = []
        if not 1 <= self.admissions <= 900_000:
            problems.append(f"admissions={self.admissions}: must be from 1 to 900000, for hadm_id has eight digits")
        if not 0 <= self.test_share < 1:
            problems.append(f"test_share={self.test_share}: must be at least 0 and below 1")
        if Path(self.out).is_dir() and any(Path(self.out).iterdir()):
            problems.append(f"out={self.out}: the folder is not empty; name another, or remove it first")
        return problems


def hospital(cfg: HospitalConfig) -> None:
    """Writes `note/`, `ed/` and `hosp/` in MIMIC-IV's formats, `hospital.json` with counts, and `split.csv`.

    Beside the notes stands `note/evidence.csv.gz`: where they mention what, and which of it decides the DRG.

    Some phrasings are held out for the test patients of `split.csv`, which `prepare` follows.

    Raises:
        UserError: `out` holds something.
    """
    from src.synthetic.hospital_folder import write_hospital

    counts = write_hospital(Path(cfg.out), cfg.admissions, cfg.seed, cfg.split_seed, cfg.test_share)
    print("\n".join(f"{name}: {value}" for name, value in counts.items()))


def main() -> None:
    """Runs the command."""
    command(HospitalConfig, "hospital", hospital)


if __name__ == "__main__":
    main()
