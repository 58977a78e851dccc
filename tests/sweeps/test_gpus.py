"""Which GPUs the cells of a sweep get."""

import pytest

from src.cli.errors import UserError
from src.sweeps.launchers.processes import shares, visible_gpus

GPU = [f"GPU-8932f937-d72c-4106-c12f-20bd9faed9f{digit}" for digit in "012"]
MIG = ["MIG-34319582-d595-5d1c-a94a-6b1a6f6d1c3e", "MIG-7a1f4c56-1be8-5a43-9e0c-3f0c2d8a7f11"]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,2", ["0", "2"]),
        (" 1 , 0", ["1", "0"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        (",".join(GPU), GPU),
        (",".join(MIG), MIG),
    ],
)
def test_visible_gpus_are_numbers_or_uuids(given: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names


def test_cells_share_out_what_is_visible() -> None:
    assert shares(GPU, 2) == [",".join(GPU[:2])]
    assert shares(MIG, 1) == MIG
    assert shares([], 4) == []
    with pytest.raises(UserError, match="gpus_per_cell=4: 3 are visible"):
        shares(GPU, 4)
    with pytest.raises(UserError, match="gpus_per_cell=2: a process sees one MIG instance"):
        shares(MIG, 2)
