"""The fused kernels without a card: what they compute by Triton's interpreter, and that they compile for cards."""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from src.models.engine import elementwise, kernels
from src.models.engine.dropout import Drops

ROOT = Path(__file__).parents[3]
CLAIMS = [
    node.name
    for node in ast.parse(Path(__file__).with_name("interpreted.py").read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name not in ("main", "rows", "noise")
]
NAMES = {"norm", "norm_backward", "drop", "add_kept", "rotate", "rotate_back", "gate", "gate_backward"}

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed; it is made for Linux")


def run(tmp_path: Path, *words: str, interpret: bool = False) -> Any:
    """What a program of `tests.models.engine` writes, as its JSON."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": str(int(interpret))}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run(tmp_path_factory.mktemp("triton"), "tests.models.engine.interpreted", interpret=True)


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("claim", CLAIMS)
def test_in_tritons_interpreter(claim: str, interpreted: dict[str, str]) -> None:
    assert len(CLAIMS) == len(interpreted)
    assert not interpreted[claim], interpreted[claim]


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize("capability", ["80", "90"])
def test_every_kernel_compiles_without_spilling_and_once_for_any_number_of_rows(
    capability: str, tmp_path: Path
) -> None:
    variants = run(tmp_path, "tests.models.engine.compiled", capability)
    four_notes, *others = variants.values()
    assert {variant.partition(":")[0] for variant in four_notes} == NAMES
    assert set(four_notes.values()) == {0}, four_notes
    assert all(other == four_notes for other in others)


def test_the_shells_are_the_functions_that_torchs_operators_have() -> None:
    def public(module: Any) -> dict[str, list[str]]:
        parsed = ast.parse(Path(module.__file__).read_text("utf-8")).body
        functions = [node for node in parsed if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
        return {node.name: [argument.arg for argument in node.args.args] for node in functions}

    ours = public(kernels)
    assert ours.pop("available") == ["device", "dtype"]
    assert ours.pop("differences")
    assert ours == public(elementwise)


def test_a_kernel_draws_from_what_it_is_given_and_keeps_no_mask() -> None:
    none = torch.empty(0)
    drops = Drops([], [], none, none, none, site=0)
    assert kernels.draw(drops, 8) is drops
    assert kernels.draw(None, 8) is None


def test_a_processor_uses_torchs_operators_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert not kernels.available(torch.device("cpu"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"norm": 0.5, "gate": 0.01}, "norm differs by 5.0e-01"),
        ({"norm": float("nan"), "gate": 0.01}, "norm differs by nan"),
        (RuntimeError("no compiler\nand a trace"), "RuntimeError: no compiler"),
        (ModuleNotFoundError("No module named 'triton'"), "ModuleNotFoundError: No module named 'triton'"),
    ],
)
def test_kernels_that_fail_on_a_card_are_named_in_one_line(
    result: Any, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def differences(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(kernels, "differences", differences)
    kernels.available.cache_clear()
    assert not kernels.available(torch.device("cuda:0"))
    assert not kernels.available(torch.device("cuda:0"))
    kernels.available.cache_clear()
    assert capsys.readouterr().err == f"kernels: torch's own operators, as fused kernels fail here ({reason})\n"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_card_every_function_equals_torchs_operators() -> None:
    for width in (72, 1104, 4096, 5120, 11008):
        assert all(by <= 2e-6 for by in kernels.differences(torch.device("cuda:0"), torch.float32, width).values())
    assert kernels.available(torch.device("cuda:0"))
