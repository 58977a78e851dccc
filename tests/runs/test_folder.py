import ast
from pathlib import Path

from src.runs.folder import SCORED, RunFolder
from src.runs.record import finished

SRC = Path(__file__).parents[2] / "src"
BEFORE = ("cli", "config", "cohort")
"""Rooms that may not import a run's folder; what they spell is a list of what is private, and the prose of refusals."""


def names() -> set[str]:
    folder = RunFolder(Path("run"))
    paths = [value for name in vars(RunFolder) if isinstance(value := getattr(folder, name, None), Path)]
    own = {path.name for path in [*paths, *map(folder.predictions, SCORED)] if path.parent == folder.path}
    assert {"result.json", "history.jsonl", ".lock", "predictions.parquet", "predictions_validation.parquet"} < own
    return own


def spelled(tree: ast.AST, own: set[str]) -> list[str]:
    """Names of files, and names of folders where a path is made of them, for these are words too."""
    joined = {id(node.right) for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)}
    texts = [(node, node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [
        text
        for node, text in texts
        if isinstance(text, str)
        and text.rpartition("/")[2] in own
        and ("." in text.rpartition("/")[2][1:] or id(node) in joined)
    ]


def test_no_other_file_spells_the_name_of_a_run_s_file() -> None:
    own, seen = names(), 0
    for path in sorted(SRC.rglob("*.py")):
        room = path.relative_to(SRC).parts[0]
        if room in BEFORE or path == SRC / "runs" / "folder.py":
            continue
        seen += 1
        assert not spelled(ast.parse(path.read_text("utf-8")), own), f"{path}: takes names from src/runs/folder.py"
    assert seen > 150


def test_a_spelled_name_is_seen() -> None:
    text = 'a = run / "adapter"\nb = out.glob("*/result.json")\nc = values["wandb"]\nd = f"{run}/state.json"'
    assert set(spelled(ast.parse(text), names())) == {"*/result.json", "/state.json", "adapter"}


def test_a_run_is_finished_by_its_whole_record(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert not finished(run.path)
    run.record.write_text('{"axes": ')
    assert not finished(run.path)
