"""Simulates coders who read cases with assistance and without, by assumptions from which every true effect follows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from src.coding_study.crossed import Array


@dataclass(frozen=True)
class Assumptions:
    """Holds what is assumed of coders and cases, and of what assistance changes."""

    seconds: float
    """Median seconds a case without assistance."""
    ratio: float
    """What assistance multiplies seconds by."""
    learning: float
    """What the second period multiplies seconds by."""
    seconds_coder: float
    """Standard deviation of log seconds between coders."""
    seconds_case: float
    """The same between cases."""
    seconds_effect: float
    """The same of what assistance changes, between coders and once more between cases."""
    seconds_rest: float
    """The same between readings that have coder, case and arm in common."""
    accuracy: float
    """Share of DRGs that are right without assistance."""
    gain: float
    """What assistance adds to that share."""
    right_coder: float
    """Standard deviation between coders of the probit of being right, in units of what is left to chance."""
    right_case: float
    """The same between cases."""
    right_effect: float
    """The same of what assistance changes, between coders and once more between cases."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        wrong = []
        for name, value in vars(self).items():
            if name in ("seconds", "ratio", "learning", "seconds_rest") and value <= 0:
                wrong.append(f"assume.{name}={value}: must be above 0")
            if name.endswith(("_coder", "_case", "_effect")) and value < 0:
                wrong.append(f"assume.{name}={value}: must be at least 0")
        if not 0 < self.accuracy < 1:
            wrong.append(f"assume.accuracy={self.accuracy}: must lie between 0 and 1")
        elif not 0 < self.accuracy + self.gain < 1:
            wrong.append(f"assume.gain={self.gain}: with assume.accuracy={self.accuracy} it must stay between 0 and 1")
        return wrong


@dataclass(frozen=True, eq=False)
class Readings:
    """Holds who reads what: indices of coders and cases, whether with assistance, and whether in the second period."""

    coders: NDArray[np.int64]
    cases: NDArray[np.int64]
    assisted: Array
    late: Array


def simulate(readings: Readings, assumed: Assumptions, studies: int, draw: np.random.Generator) -> tuple[Array, Array]:
    """Draws studies of the same readings: log seconds, and whether the DRG is right (1 or 0), [B, studies] each."""
    arm, late = readings.assisted[:, None] - 0.5, readings.late[:, None] - 0.5

    def drawn(coder: float, case: float, effect: float) -> Array:
        total = np.zeros((len(readings.coders), studies))
        for index, main in ((readings.coders, coder), (readings.cases, case)):
            count = index.max() + 1
            total += draw.normal(0, main, (count, studies))[index]
            total += arm * draw.normal(0, effect, (count, studies))[index]
        return total

    middle = np.log(assumed.seconds) + (arm + 0.5) * np.log(assumed.ratio) + late * np.log(assumed.learning)
    seconds = middle + drawn(assumed.seconds_coder, assumed.seconds_case, assumed.seconds_effect)
    seconds += draw.normal(0, assumed.seconds_rest, seconds.shape)
    # A probit with normal effects has its share in closed form: that of the mean over the whole spread.
    spread = np.sqrt(1 + assumed.right_coder**2 + assumed.right_case**2 + assumed.right_effect**2 / 2)
    share = assumed.accuracy + (arm + 0.5) * assumed.gain
    skill = norm.ppf(share) * spread + drawn(assumed.right_coder, assumed.right_case, assumed.right_effect)
    return seconds, (skill + draw.normal(0, 1, skill.shape) > 0).astype(np.float64)
