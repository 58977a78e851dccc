import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STAGES = [
    "shell",
    "config",
    "cohort",
    "synthetic",
    "models",
    "training",
    "evaluation",
    "exchange",
    "sweeps",
    "tracking",
    "baselines",
    "analysis",
    "benchmarks",
]
TORCH_FREE = ["shell", "config", "cohort", "synthetic"]
TOP = {
    "conf", "src", "sweeps", "notebooks", "tests", "pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "LOG.md",
    "LICENSE", "constraints.txt", "docs", ".ci", ".gitignore",
}  # fmt: skip


def modules() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_a_stage_imports_only_stages_before_it() -> None:
    seen = 0
    for path in modules():
        parts = path.relative_to(ROOT / "src").parts
        if len(parts) < 2:
            continue
        seen += 1
        for name in imported(path):
            if name.startswith("src."):
                stage = name.split(".")[1]
                assert stage in STAGES, f"{path} imports the entry point {name}"
                assert STAGES.index(stage) <= STAGES.index(parts[0]), f"{path} imports the later {name}"
    assert seen > 50


def test_the_top_level_is_what_the_readme_draws() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: the top level cannot be listed")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} == TOP
    drawn = (ROOT / "README.md").read_text("utf-8")
    for line in listed.stdout.splitlines():
        if line.startswith("src/") and line.endswith(".py") and not line.endswith("__init__.py"):
            assert Path(line).name in drawn, f"README.md draws no {line}"


@pytest.mark.parametrize("stage", TORCH_FREE)
def test_early_stages_are_free_of_torch(stage: str) -> None:
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules() if path.parts[-2] == stage]
    code = f"import sys\nfor name in {names!r}:\n    __import__(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert names
    assert done.stdout.strip() == "False"


def test_bitsandbytes_is_imported_in_one_module() -> None:
    users = [path.name for path in modules() if any(name.startswith("bitsandbytes") for name in imported(path))]
    assert users == ["quantised.py"]


def test_functions_and_files_stay_short() -> None:
    for path in modules():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{path}: {node.name} has {length} lines"
