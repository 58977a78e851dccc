"""The measures of a tree of modules, on one small enough to count by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from src.benchmarks.structure import measure
from tests.conftest import ROOT

FILES = {
    "__init__.py": "",
    "train.py": '''"""Trains a model."""

from tree.data.notes import Note


def main():
    """The command."""
    import tree.model.heads

    found = _once(Note)  # the only one
    return _twice(found) + _twice(2)


def _once(note):
    return note


def _twice(note):
    a = 1
    b = 2
    c = 3
    d = 4
    e = 5  # fmt: skip
    return note
''',
    "data/__init__.py": "",
    "data/notes.py": '''from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree.data import tables


class Note:
    """A note of an admission."""

    length: int
    """In tokens."""


class _Hidden:
    pass
''',
    "data/tables.py": "import tree.data.notes\n\n# A table holds notes.\nfound = told = 1\n",
    "model/__init__.py": "",
    "model/notes.py": "class Note:\n    pass\n",
    "model/heads.py": '"""Whether there is a head."""\n',
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "tree"


def test_every_measure_is_what_is_counted_by_hand(tree: Path) -> None:
    measured = measure(tree)
    expected = {
        "files": 8,
        "lines": sum(len(text.splitlines()) for text in FILES.values()),
        "functions": 3,
        "function length, median / p90 / max": "6 / 6 / 7",
        "functions > 60 lines": 0,
        "private functions": 2,
        "called once": 1,
        "called once, at most 6 lines": 1,
        "imports inside functions": 1,
        "classes in several rooms": "1 Note",
        "file names in several rooms": "1 notes",
        "docstrings": 4,
        "first lines without a verb %": 75.0,
        "import cycles": "1; tree.data.notes tree.data.tables",
    }
    assert {name: measured[name] for name in expected} == expected
    solid = sum(bool(line.strip()) for text in FILES.values() for line in text.splitlines())
    assert measured["docstring %"] == round(100 * 5 / solid, 1)
    assert measured["comment %"] == round(100 * 2 / solid, 1), "of a tool's directives none"
    assert measured["code %"] == round(100 * (solid - 6) / solid, 1)
    per = 100_000 / int(measured["identifier uses"])
    assert [measured[f"  {word}"] for word in ("found", "told", "leads")] == [round(3 * per), round(per), 0]
    assert measured["told+found+each+place+at+how per 100,000"] == round(4 * per)


def test_calls_inside_an_f_string_are_calls(tmp_path: Path) -> None:
    text = 'def _of(word):\n    return word\n\n\nprint(f"{_of(1)} and {_of(2)}")\n'
    (tmp_path / "words.py").write_text(text, "utf-8")
    assert (measure(tmp_path)["private functions"], measure(tmp_path)["called once"]) == (1, 0)


def test_two_trees_stand_side_by_side(tree: Path) -> None:
    words = [sys.executable, "-m", "src.benchmarks.structure"]
    done = subprocess.run([*words, str(tree), str(tree / "data")], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ["files", "8", "3"] in [line.split() for line in done.stdout.splitlines()]
    missing = subprocess.run([*words, "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "nowhere: write python -m src.benchmarks.structure FOLDER, or two to compare\n"
