"""A cohort of another MS-DRG version through every command: what is known of v34 alone is nowhere taken for it."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from src.cohort.msdrg import load_drgs
from src.cohort.weights import weights_for
from src.inference.model import open_models
from src.inference.proposals import Proposer
from src.service.access import Access, Expose
from src.service.action_log import ActionLog
from src.service.open_desk import open_desk
from src.service.scoring_queue import ScoringQueue
from src.service.served_notes import scored_by

Run = Callable[..., "subprocess.CompletedProcess[str]"]
UNKNOWN = "weights are unknown: FY 2024, the year of MS-DRG v41, is not at hand; table5= names a Table 5 of that year"


@pytest.fixture(scope="module")
def trained(of_v41: Path, tmp_path_factory: pytest.TempPathFactory, command: Run) -> Path:
    out = tmp_path_factory.mktemp("runs")
    words = ["threads=1", "device=cpu", "wandb.mode=disabled"]
    command("src.train", "model=majority", f"data.dir={of_v41}", f"out={out}", "name=v41", *words)
    return out / "v41"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "v41"))


def test_predictions_name_the_version_and_have_weights_of_its_year_or_none(
    run: Path, hospital: Path, tmp_path: Path, command: Run
) -> None:
    said = command("src.predict", str(run), f"notes={hospital}", f"out={tmp_path / 'p.parquet'}")
    assert UNKNOWN in said.stderr
    assert "labels: MS-DRG v41" in said.stdout
    rows = pl.read_parquet(tmp_path / "p.parquet").drop_nulls("drg")
    assert rows["drg_version"].unique().to_list() == ["v41"]
    assert rows["title"].unique().to_list() == [load_drgs("v41")[rows["drg"][0]].title]
    assert (rows["weight"].count(), rows["gmlos"].count()) == (0, 0)
    table = tmp_path / "FY 2024 Table 5.csv"
    table.write_text("MS-DRG,Weights\n" + "".join(f"{code},1.5\n" for code in load_drgs("v41")), "utf-8")
    told = command("src.predict", str(run), f"notes={hospital}", f"out={tmp_path / 'q.parquet'}", f"table5={table}")
    assert "weights" not in told.stderr
    assert pl.read_parquet(tmp_path / "q.parquet").drop_nulls("drg")["weight"].unique().to_list() == [1.5]


def test_an_evaluation_names_the_version_and_has_no_cost_without_weights(run: Path, command: Run) -> None:
    assert UNKNOWN in command("src.evaluate", str(run)).stdout
    page = (run / "evaluation" / "report.md").read_text("utf-8")
    assert "test notes, MS-DRG v41" in page.splitlines()[0]
    assert UNKNOWN[1:].replace("=", "") in page.replace("\\", "").replace("=", "")
    assert "## Cost" not in page
    assert not (run / "evaluation" / "cost.csv").exists()
    tables = pl.read_csv(run / "evaluation" / "notes.csv", infer_schema=False)
    assert set(tables["drg"]) <= set(load_drgs("v41"))


def test_a_report_on_runs_names_the_version_and_that_the_published_are_of_another(run: Path, command: Run) -> None:
    assert json.loads((run / "result.json").read_text("utf-8"))["drg_version"] == "v41"
    command("src.report", str(run.parent))
    page = (run.parent / "report" / "report.html").read_text("utf-8")
    assert "MS-DRG v41, protocol" in page
    assert "What was published is of MS-DRG v34, runs here are of MS-DRG v41" in page


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ActionLog]:
    with closing(ActionLog(tmp_path / "log.sqlite")) as opened:
        yield opened


def test_the_desk_names_the_version_and_offers_its_codes(run: Path, log: ActionLog) -> None:
    proposer = Proposer(open_models([run], "cpu"), weights_for("v41"))
    assert proposer.remarks == [UNKNOWN]
    notes = pl.DataFrame({"id": ["e1"], "text": ["Brief Hospital Course:\nHeart failure."], "days": [1.0]})
    with closing(ScoringQueue(scored_by(proposer), 10)) as queue:
        desk = open_desk(proposer, queue, log, Access(Expose.LOOPBACK, {}, log.key()), notes, None)
        assert set(desk.titles) == set(load_drgs("v41"))
        assert b"MS-DRG v41" in desk.show_worklist("ann", {}).body
