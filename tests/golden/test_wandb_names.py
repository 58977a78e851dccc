"""Under which names W&B is sent what of a run: dashboards, sweeps and analyses of earlier runs read them.

`wandb_names.json` holds what a server has after `python -m src.sync` of offline runs. Names and axes are stored with
their values, since a run that is started again is found by them; of metrics the names alone.
"""

import difflib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forked import Forks
from tests.golden.wandb_doors import SentRun, WandbHere

GOLDEN = Path(__file__).with_name("wandb_names.json")
WRITE = os.environ.get("DRG_LLAMA_GOLDEN") == "write"
CHANGING = ("code", "commit")
"""Keys of the configuration whose values follow from the code."""


def names_of(run: SentRun) -> dict[str, Any]:
    """What a run was sent under; W&B's own columns begin with `_`."""
    config = {key: "..." if key in CHANGING else value for key, value in run.config.items()}
    history = {key for row in run.history for key in row if key[0] != "_"}
    return {
        "id": run.name,
        "name": run.told["displayName"],
        "project": run.project,
        "group": run.told.get("groupName"),
        "job_type": run.told["jobType"],
        "tags": run.told["tags"],
        "described_by": sorted(run.told),
        "config": {key: [type(config[key]).__name__, config[key]] for key in sorted(config)},
        "defined_metrics": json.loads(run.told["config"])["_wandb"]["value"].get("m", []),
        "axes": {key: value for key, value in sorted(run.summary.items()) if key.startswith("axes/")},
        "history": sorted(history),
        "summary": sorted(key for key in run.summary if key[0] != "_"),
        "files": sorted(run.files),
    }


@pytest.fixture(scope="module")
def sent(
    tmp_path_factory: pytest.TempPathFactory,
    runs: dict[str, Path],
    cohort: Path,
    command: Callable[..., object],
    forks: Forks,
) -> dict[str, Any]:
    """What a server has of a run of each label scheme, and of a baseline that its axes name."""
    out = tmp_path_factory.mktemp("baseline")
    command("src.train", f"data.dir={cohort}", f"out={out}", "model=tfidf", "wandb.group=words", "threads=1")
    folders = [*runs.values(), *out.glob("tfidf-*")]
    with WandbHere() as server:
        done = forks.run(["src.sync", *map(str, folders), "notes=no"], env=server.env())
        assert done.returncode == 0, done.stdout + done.stderr
        names = [names_of(run) for run in server.runs]
    return {f"{entry['job_type']} {entry['tags'][0]}": entry for entry in sorted(names, key=lambda entry: entry["id"])}


def test_runs_reach_wandb_under_the_names_of_before(sent: dict[str, Any]) -> None:
    assert sorted(sent) == ["baseline single", "train joint", "train single", "train two"]
    now = json.dumps(sent, indent=1) + "\n"
    if WRITE:
        GOLDEN.write_text(now, "utf-8")
    before = GOLDEN.read_text("utf-8")
    difference = "\n".join(difflib.unified_diff(before.splitlines(), now.splitlines(), "stored", "now", lineterm=""))
    assert now == before, f"{difference}\nIf this is meant, DRG_LLAMA_GOLDEN=write stores it anew."


def test_the_stored_names_are_those_of_every_kind_of_metric() -> None:
    for entry in json.loads(GOLDEN.read_text("utf-8")).values():
        groups = {name.partition("/")[0] for name in (*entry["history"], *entry["summary"])}
        assert {"axes", "cost", "counts", "seconds", "test", "val", "tokens_seen", "trainer"} <= groups
        assert ("train" in groups) is (entry["job_type"] == "train")
        assert not entry["files"]
