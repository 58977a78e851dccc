"""The facts of admissions as columns of numbers: what is known without the note."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

NUMBERS = ("age", "days")
KINDS = ("sex", "admission_type", "admission_location", "insurance")
FEWEST = 5
"""Training admissions with a value, below which it has no column."""


class Facts:
    """Columns learnt from training admissions: numbers, and one column for each value that is common enough.

    Length of stay is known only at discharge, as is the note. With `coded`, the diagnoses and procedures of the
    coders are columns too, the principal diagnosis once more: an upper bound, as the DRG is grouped from them.

    Args:
        coded: whether to read diagnoses and procedures.
    """

    def __init__(self, coded: bool, columns: Mapping[str, int] | None = None, largest: list[float] | None = None):
        self.coded, self.columns, self.largest = coded, dict(columns or {}), list(largest or [])

    def fit(self, rows: pl.DataFrame) -> csr_matrix:
        """Learns the columns of training admissions; what `of` gives for them."""
        seen = Counter(value for values in self._values(rows) for value in set(values))
        self.columns = {value: index for index, value in enumerate(sorted(v for v, n in seen.items() if n >= FEWEST))}
        self.largest = [float(_number(rows, name).max(initial=1.0)) for name in NUMBERS]
        return self.of(rows)

    def of(self, rows: pl.DataFrame) -> csr_matrix:
        """[B, columns]: numbers as shares of the largest in training, and 1 where an admission has a value."""
        numbers = np.stack([_number(rows, name) / most for name, most in zip(NUMBERS, self.largest, strict=True)], 1)
        row_index, column_index, data = [], [], []
        for row, values in enumerate(self._values(rows)):
            columns = {self.columns[value] for value in values if value in self.columns}
            own_numbers = dict(enumerate(numbers[row]))
            row_index += [row] * (len(own_numbers) + len(columns))
            column_index += [*own_numbers, *(len(NUMBERS) + index for index in columns)]
            data += [*own_numbers.values(), *[1.0] * len(columns)]
        shape = (rows.height, len(NUMBERS) + len(self.columns))
        return csr_matrix((np.array(data, dtype=np.float32), (row_index, column_index)), shape=shape)

    def learnt(self) -> dict[str, Any]:
        """Returns what `from_learnt` needs."""
        return {"coded": self.coded, "columns": self.columns, "largest": self.largest}

    @classmethod
    def from_learnt(cls, learnt: Mapping[str, Any]) -> "Facts":
        """Makes the same columns from what was learnt."""
        return cls(learnt["coded"], learnt["columns"], learnt["largest"])

    def _values(self, rows: pl.DataFrame) -> list[list[str]]:
        """Lists the named values of each admission, such as `insurance=Medicare`."""
        admissions = [[f"{kind}={value}" for kind, value in row.items()] for row in rows.select(KINDS).to_dicts()]
        lists = ("services", "diagnoses", "procedures") if self.coded else ("services",)
        for name in lists:
            for admission, values in zip(admissions, rows[name].to_list(), strict=True):
                admission += [f"{name}={value}" for value in values or []]
                if name == "diagnoses" and values:
                    admission.append(f"principal={values[0]}")
        return admissions


def _number(rows: pl.DataFrame, name: str) -> NDArray[np.float32]:
    return rows[name].cast(pl.Float32).fill_null(-1.0).to_numpy()
