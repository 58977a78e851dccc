import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from src.baselines.systems import PREDICTORS
from src.benchmarks.structure import cycles, read_modules
from src.config.choices import Kind
from src.config.launch import SCHEMAS
from src.config.launch import Kind as LauncherKind
from src.runs.identity import UNREAD
from src.sweeps.sweep import LAUNCHERS
from tests.architecture import PAGE, first_line, with_files

ROOT = Path(__file__).parents[1]
ROOMS = [
    "cli",
    "display",
    "config",
    "cohort",
    "synthetic",
    "models",
    "metrics",
    "estimates",
    "runs",
    "tracking",
    "training",
    "baselines",
    "evaluation",
    "inference",
    "evidence",
    "exchange",
    "privacy",
    "sweeps",
    "scaling_analysis",
    "reporting",
    "wandb_views",
    "coding_study",
    "service",
    "testing",
    "benchmarks",
]
TORCH_FREE = ["cli", "display", "config", "cohort", "synthetic", "metrics"]
TOP = {
    "conf", "src", "sweeps", "notebooks", "tests", "pyproject.toml", "Makefile", "README.md", "CHANGELOG.md", "LOG.md",
    "LICENSE", "constraints.txt", "docs", ".ci", ".gitignore",
}  # fmt: skip


NAMED_TWICE = {
    "memory": "the plan, the step that tries it, and the command that measures both",
    "Difference": "of two runs, and of two settings of a grid",
    "Estimate": "with its interval, and as a table shows it",
    "Labels": "the scheme that is typed, and the labels of a cohort",
    "Lines": "of a benchmark, and of a figure",
    "Source": "of notes, and of runs",
    "Steps": "of a run, and of a measurement",
    "study": "Optuna's, of a search's trials, and the benchmark of `src.study`",
    "Weights": "where a base's come from, and those of DRGs",
}
"""Files and public classes of one name in two rooms, with what tells them apart; a name leaves this list with its twin.
"""


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


def test_a_room_imports_only_rooms_before_it() -> None:
    seen = 0
    for path in modules():
        parts = path.relative_to(ROOT / "src").parts
        if len(parts) < 2:
            continue
        seen += 1
        for name in imported(path):
            if name.startswith("src."):
                room = name.split(".")[1]
                assert room in ROOMS, f"{path} imports the command {name}"
                assert ROOMS.index(room) <= ROOMS.index(parts[0]), f"{path} imports the later {name}"
    assert seen > 50
    assert sorted(ROOMS) == sorted(path.parent.name for path in (ROOT / "src").glob("*/__init__.py"))


def test_every_import_of_ours_names_what_is_there() -> None:
    """mypy asks for no types of libraries, and so takes a module or a name that is gone for one of theirs."""
    seen = 0
    for path in [*modules(), *sorted((ROOT / "tests").rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("src", "tests"):
                seen += 1
                target = ROOT / node.module.replace(".", "/")
                inner = {file.stem for file in target.glob("*.py")} | {
                    file.parent.name for file in target.glob("*/*.py")
                }
                file = target.with_suffix(".py") if not target.is_dir() else target / "__init__.py"
                assert target.is_dir() or file.is_file(), f"{path}: there is no {node.module}"
                bound = (bound_at_the_top(file) if file.is_file() else set()) | inner
                lacking = {name.name for name in node.names} - bound
                assert not lacking, f"{path}: {node.module} has no {', '.join(sorted(lacking))}"
    assert seen > 500


@cache
def bound_at_the_top(path: Path) -> set[str]:
    bound = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {name.asname or name.name for name in node.names}
    return bound


def test_the_top_level_is_what_the_readme_draws() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: the top level cannot be listed")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} == TOP


def test_the_readme_draws_each_room_with_what_it_says_of_itself() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for room in ROOMS:
        line = f"  {room + '/':<18} {first_line(ROOT / 'src' / room / '__init__.py')}\n"
        assert line in readme, f"README.md's tree lacks this line:\n{line}"
    assert len(readme.splitlines()) <= 180, "README.md is to be read at one go: details go to docs/"


def test_every_link_inside_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))]
    assert len(links) > 5
    for page, link in links:
        assert (page.parent / link).exists(), f"{page}: {link} is not there"


def test_the_list_of_files_is_what_the_modules_say() -> None:
    page = PAGE.read_text("utf-8")
    assert page == with_files(page, ROOMS), "docs/architecture.md is stale: run `make docs`"


@pytest.mark.parametrize("room", TORCH_FREE)
def test_early_rooms_are_free_of_torch(room: str) -> None:
    own = [path for path in modules() if path.parent == ROOT / "src" / room]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in own]
    code = f"import sys\nfor name in {names!r}:\n    __import__(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert names
    assert done.stdout.strip() == "False"


def test_bitsandbytes_is_imported_in_one_module() -> None:
    users = [path.name for path in modules() if any(name.startswith("bitsandbytes") for name in imported(path))]
    assert users == ["quantised.py"]


def test_a_name_stands_in_one_room() -> None:
    rooms: dict[str, set[str]] = {}
    for path in modules():
        parts = path.relative_to(ROOT / "src").parts
        if len(parts) == 1:  # a command is a verb of what a room's file is the noun of
            continue
        classes = [node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
        for name in (path.stem, *classes):
            if not name.startswith("_"):
                rooms.setdefault(name, set()).add(parts[0])
    assert len(rooms) > 300
    twice = {name: sorted(among) for name, among in rooms.items() if len(among) > 1}
    assert sorted(twice) == sorted(NAMED_TWICE), twice


def test_functions_and_files_stay_short() -> None:
    for path in modules():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{path}: {node.name} has {length} lines"


def test_every_stop_of_the_walks_is_there() -> None:
    stops = re.findall(r"`(src/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "architecture.md").read_text("utf-8"))
    assert len(stops) > 30
    for path, name in stops:
        assert name in bound_at_the_top(ROOT / path), f"{path} has no {name}"


def test_no_modules_import_each_other() -> None:
    assert cycles(read_modules(ROOT / "src")) == []


def test_the_story_is_short_and_no_file_asks_which_system_it_holds() -> None:
    """`src/config/train.py` says what kinds there are; of the rest only the table of systems knows them."""
    story = (ROOT / "src" / "train.py").read_text("utf-8")
    (train,) = (node for node in ast.parse(story).body if isinstance(node, ast.FunctionDef) and node.name == "train")
    assert len(story.splitlines()) <= 60
    assert (train.end_lineno or 0) - train.lineno < 40
    question = re.compile(
        r"kind (is|is not|in|not in|==|!=) \(?Kind\.|isinstance\(\w+, (Llama|Majority|Linear|Boosted|Tuned)\)"
    )
    asking = {path for path in modules() if question.search(path.read_text("utf-8"))}
    assert asking == {ROOT / "src" / "config" / "train.py", ROOT / "src" / "training" / "llama.py"}


def test_every_kind_of_system_and_of_launcher_is_in_its_tables() -> None:
    assert set(PREDICTORS) == set(UNREAD) == set(Kind)
    assert set(LAUNCHERS) == set(SCHEMAS) == set(LauncherKind)
