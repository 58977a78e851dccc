"""The page of both reports: text as it is, nothing beside it, and a template that goes where the code goes."""

import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from src.display import page as pages
from src.display.figure_style import ReportFigure, panel, svg
from src.display.page import Page, PageBlock, Section, prose, render
from src.display.tables import table_of
from tests.display.test_writers import HOSTILE

ROOT = Path(__file__).parents[2]


class Tags(HTMLParser):
    """The tags of a page, in order."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)


def whole_page(text: str) -> str:
    """A page that has a text wherever one may stand."""
    figure, axes = panel()
    axes.plot([0, 1], [0, 1])
    drawn = ReportFigure("line", text, text, figure)
    blocks = [
        PageBlock(text),
        PageBlock(prose("{} stands here", text), code=text),
        PageBlock(figures=[drawn], files="figures"),
        PageBlock(table=table_of([text, "n"], [[text, 1]]), folded=text),
    ]
    return render(Page(text, text, [Section("one", text, blocks)], {text: text}, [text], [text]), {"line": svg(drawn)})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text_wherever_a_page_has_text(text: str) -> None:
    written = whole_page(text)
    assert not set(written) & {"\x1b", "\x07", "\u202e"}
    assert Tags(written).names == Tags(whole_page("plain")).names


def test_a_section_without_a_block_is_neither_shown_nor_linked() -> None:
    written = render(Page("t", "s", [Section("full", "Full", [PageBlock("x")]), Section("empty", "Empty", [])]), {})
    assert "Full" in written
    assert "Empty" not in written
    assert written.count("<h2") == 1


def test_a_name_that_the_template_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        pages._environment().from_string("{{ page.nothing }}").render(page=Page("t", "s", []))


def test_the_template_is_found_from_another_folder(tmp_path: Path) -> None:
    code = "from src.display.page import Page, render; print(render(Page('a title', '', []), {}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "<h1>a title</h1>" in done.stdout


def test_an_installed_copy_has_every_file_of_src() -> None:
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: the files of src cannot be listed")
    data = [Path(line).name for line in listed.stdout.splitlines() if not line.endswith(".py")]
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]["*"]
    assert "page.html.j2" in data
    assert [name for name in data if not any(fnmatch(name, pattern) for pattern in patterns)] == []
