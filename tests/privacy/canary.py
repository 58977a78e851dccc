"""A run that puts a note's sentences wherever they could slip out: `canary.py ours|default SENTENCES.json FOLDER`.

Run by `test_canary.py`; the sentences are keyed by the place where each is put.
"""

import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import wandb

HOW, SENTENCES, FOLDER = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])


def model() -> torch.nn.Module:
    """With a layer that is called by a sentence."""
    return torch.nn.ModuleDict({SENTENCES["watch"].replace(".", ""): torch.nn.Linear(2, 2)})


def table() -> Any:
    return wandb.Table(columns=["note"], data=[[SENTENCES["table"]]])


def artifact() -> Any:
    path = FOLDER / "note.txt"
    path.write_text(SENTENCES["artifact"])
    found = wandb.Artifact("notes", "dataset", description=SENTENCES["description"])
    found.add_file(str(path))
    return found


def slips(run: Any, log: Callable[[dict[str, Any]], Any]) -> list[Callable[[], Any]]:
    """What a careless hand would do with a run."""
    return [
        lambda: log({SENTENCES["metric name"]: 1.0}),
        lambda: log({"train/loss": SENTENCES["value"]}),
        lambda: log({"table": TABLE}),
        lambda: run.log({"table": TABLE}),
        table,
        lambda: run.log_artifact(artifact()),
        lambda: run.alert(title=SENTENCES["alert"], text=SENTENCES["alert"]),
        lambda: run.watch(network, log="all", log_freq=1),
        lambda: network[next(iter(network))](torch.ones(1, 2)).sum().backward(),
    ]


def speak() -> None:
    print(SENTENCES["printed"])
    print(SENTENCES["printed"], file=sys.stderr)
    logging.getLogger("wandb").warning(SENTENCES["logged"])
    logging.getLogger().warning(SENTENCES["logged"])
    warnings.warn(SENTENCES["logged"], stacklevel=1)


def careless() -> None:
    """Default settings."""
    run = wandb.init(project="canary", config={"hyperparameter": SENTENCES["hyperparameter"]})
    for slip in slips(run, run.log):
        slip()
    run.log({"train/loss": 0.5})
    run.summary["note"] = SENTENCES["value"]
    speak()
    raise RuntimeError(SENTENCES["raised"])


def guarded() -> None:
    """The same hands on a run of ours."""
    from src.config.choices import WandbMode
    from src.config.train import WandbConfig
    from src.tracking.guard import LeakError
    from src.tracking.recorder import recording

    wandb.setup()  # it has read the environment before ours stands
    cfg, refused = WandbConfig(WandbMode.ONLINE, "canary", None), 0
    with contextlib.suppress(LeakError), recording(cfg, FOLDER, {"model": SENTENCES["hyperparameter"]}):
        raise AssertionError("a sentence became a hyper-parameter")
    with recording(cfg, FOLDER, {"model": "nano"}) as log:
        run = wandb.setup().most_recent_active_run
        extra: list[Callable[[], Any]] = [lambda: log.log_summary({"note": SENTENCES["value"]})]
        extra += [lambda name=name: getattr(wandb, name)(SENTENCES["value"]) for name in ("init", "alert", "save")]
        for slip in [*slips(run, log.log_metrics), *slips(wandb, wandb.log), *extra]:
            try:
                slip()
            except LeakError as error:
                refused += not any(sentence in str(error) for sentence in SENTENCES.values())
        assert refused >= 16, refused  # all but the backward passes
        log.log_metrics({"train/loss": 0.5}, 1)
        speak()
        raise RuntimeError(SENTENCES["raised"])


if __name__ == "__main__":
    network, TABLE = model(), table()
    guarded() if HOW == "ours" else careless()
