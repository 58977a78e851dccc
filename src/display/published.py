"""Lists published results on MIMIC-IV's discharge summaries, to stand beside one's own.

All but the fine-tuning on common DRGs are tested on the same 26,244 notes of 738 MS-DRGs (v34.0). None was published
with an interval. The test notes are not public and the paper's own split cannot be rebuilt, so that a difference to
them is no paired one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

PAPER_COHORT = {
    "notes": 262_436, "train": 236_192, "test": 26_244, "DRGs": 738, "DRGs of the version": 757, "base DRGs": 340,
    "CC/MCC states": 5, "mean words of a note": 378,
}  # fmt: skip
"""The cohort of DRG-LLaMA, of MIMIC-IV 2.0 or 2.2 and note 2.2, which had no validation split. The 340 base DRGs are
those of all 757 codes."""

PAPER_MODELS, PAPER_LENGTHS = ("llama7b", "llama13b"), (512, 1024, 2048)
"""The grid of DRG-LLaMA."""

PUBLISHED_VERSION = "v34"
"""The MS-DRG version of what was published."""

TEST_NOTES = PAPER_COHORT["test"]
"""Of DRG-LLaMA and of DRG-Sapphire."""

DRG_LLAMA = "DRG-LLaMA, npj Digit Med 2024;7:16, doi:10.1038/s41746-023-00989-3"
DRG_SAPPHIRE = "DRG-Sapphire, NeurIPS 2025, figure 1A"

ACCURACY, MACRO_F1, MACRO_AUC = "test/accuracy", "test/macro_f1", "test/macro_auc"


@dataclass(frozen=True)
class Published:
    """Holds one system as its authors report it.

    Attributes:
        system: as its authors name it.
        model: as `model=` names the nearest; None where this project has none.
        params: of the base, without a head; None where not stated.
        max_len: tokens that are read; None where not stated.
        labels: as `labels=` names the scheme.
        metrics: by the names of `result.json`, as shares of 1.
        source: where it stands.
        derived: whether it follows from a published ratio and is not printed itself.
        same_test: whether it was tested on the paper's 26,244 notes.
    """

    system: str
    model: str | None
    params: int | None
    max_len: int | None
    labels: str
    metrics: Mapping[str, float]
    source: str
    derived: bool = False
    same_test: bool = True


LLAMA_7B, LLAMA_13B = 6_607_343_616, 12_852_024_320
"""Parameters without the language model's head, as `axes` counts them."""

PUBLISHED = (
    Published(
        "DRG-LLaMA-7B", "llama7b", LLAMA_7B, 512, "single",
        {MACRO_F1: 0.327, ACCURACY: 0.520, MACRO_AUC: 0.986}, f"{DRG_LLAMA}, abstract",
    ),
    Published(
        "DRG-LLaMA-13B", "llama13b", LLAMA_13B, 1024, "single",
        {MACRO_F1: 0.361, ACCURACY: 0.546}, f"{DRG_LLAMA}, results by size and context",
    ),
    Published(
        "DRG-LLaMA-7B", "llama7b", LLAMA_7B, 512, "two",
        {"test/base_accuracy": 0.678, "test/severity_accuracy": 0.675, "test/rule_accuracy": 0.515},
        f"{DRG_LLAMA}, abstract and results of two labels",
    ),
    Published(
        "ClinicalBERT", "clinicalbert", None, 512, "single", {MACRO_F1: 0.233},
        f"{DRG_LLAMA}, abstract: 0.327 is 40.3% more", derived=True,
    ),
    Published(
        "CAML", "caml", None, None, "single", {MACRO_F1: 0.241},
        f"{DRG_LLAMA}, abstract: 0.327 is 35.7% more", derived=True,
    ),
    Published("DRG-LLaMA-7B (in DRG-Sapphire)", "llama7b", LLAMA_7B, None, "single", {ACCURACY: 0.539}, DRG_SAPPHIRE),
    Published("ClinicalBERT (in DRG-Sapphire)", "clinicalbert", None, None, "single", {ACCURACY: 0.502}, DRG_SAPPHIRE),
    Published("CAML (in DRG-Sapphire)", "caml", None, None, "single", {ACCURACY: 0.447}, DRG_SAPPHIRE),
    Published("DRG-Sapphire (Qwen2.5-7B)", None, None, None, "single", {ACCURACY: 0.548}, DRG_SAPPHIRE),
    Published(
        "LLaMA, 30 commonest DRGs", None, None, None, "single", {ACCURACY: 0.694}, "Feng 2025", same_test=False
    ),
)  # fmt: skip
"""Every public figure that was found, the paper's own first."""


def published(model: str, labels: str) -> list[Published]:
    """Picks what was published of a model and a label scheme.

    >>> [row.metrics["test/macro_f1"] for row in published("llama13b", "single")]
    [0.361]
    """
    return [row for row in PUBLISHED if row.model == model and row.labels == labels]


def sampling_interval(accuracy: float, notes: int = TEST_NOTES) -> tuple[float, float]:
    """Computes the 95 % interval that an accuracy has from the number of test notes alone (binomial, Wilson's score).

    It takes notes for independent, which those of one patient are not, and holds no other run's luck.

    >>> [round(end, 4) for end in sampling_interval(0.52)]
    [0.514, 0.526]
    """
    z = 1.959964
    middle = (accuracy + z * z / (2 * notes)) / (1 + z * z / notes)
    reach = z / (1 + z * z / notes) * sqrt(accuracy * (1 - accuracy) / notes + z * z / (4 * notes * notes))
    return middle - reach, middle + reach
