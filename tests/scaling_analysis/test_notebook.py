from pathlib import Path

import pytest

from src.testing.made_up_runs import Truth, grid_of, write_runs

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_scaling_notebook_runs_on_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    write_runs(
        tmp_path / "runs",
        [run for run in grid_of(Truth(), seeds=2) if not run.name.startswith("pico-len192-r8-two-s1")],
    )
    monkeypatch.setenv("SOURCE", str(tmp_path / "runs"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = ROOT / "notebooks" / "scaling.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "strip the outputs"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    told = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert "17 runs in 9 cells, which differ in params, max_len" in told[0]
    assert any("image/png" in each for each in told)
    assert any("model=pico max_len=192 seed=1" in each for each in told)
