import json
import subprocess
import sys
from pathlib import Path

import pytest

from src.testing.wandb_here import WandbHere

RUNS = """
import wandb
for number in range(5):
    group, project = ("even", "odd")[number % 2], ("one", "two")[number == 4]
    with wandb.init(project=project, id=f"run{number}", group=group, config={"seed": number}) as run:
        for step in range(3):
            run.log({"loss": number + step, "trainer/global_step": 10 * step})
        run.summary["accuracy"] = number / 8
api, told = wandb.Api(), {}
for run in api.runs("researcher/one", filters={"group": "even"}, per_page=1, lazy=False):
    told[run.id] = [dict(run.config), run.summary["accuracy"], [row["loss"] for row in run.scan_history()]]
told["all"] = len(api.runs("researcher/one"))
try:
    len(api.runs("researcher/none"))
except ValueError:
    told["none"] = True
import json
print(json.dumps(told))
"""


@pytest.mark.slow
def test_what_is_sent_is_read_again_by_project_and_group(tmp_path: Path) -> None:
    with WandbHere() as here:
        env = here.env(WANDB_SILENT="true")
        done = subprocess.run(
            [sys.executable, "-c", RUNS],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "run0": [{"seed": 0}, 0, [0, 1, 2]],
            "run2": [{"seed": 2}, 0.25, [2, 3, 4]],
            "all": 4,
            "none": True,
        }
        assert here.run("run4").project == "two"
        assert here.summary("run3")["accuracy"] == 0.375
        assert b"trainer/global_step" in here.sent()
        assert here.unknown == []
