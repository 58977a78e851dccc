"""Scores a finished run again, compares with its record, and reports: `python -m src.evaluate run=runs/NAME`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from src.config.evaluate import EvaluateConfig
from src.shell.command import command
from src.shell.errors import UserError

if TYPE_CHECKING:
    from src.cohort.split import Split
    from src.evaluation.predictions import Predictions
    from src.training.session import Session

TOLERANCE = 1e-6
"""Metrics of the same weights on the same device agree to this."""


def evaluate(cfg: EvaluateConfig) -> dict[str, float]:
    """Rebuilds the run's model from its adapters, scores validation and test, and writes what they say.

    Returns:
        The metrics, as `result.json` names them.

    Raises:
        UserError: the cohort is another one, weights are missing, or a metric differs from the record.
    """
    from src.cohort.split import Split
    from src.config.train import TrainConfig
    from src.evaluation.outcome import ADAPTERS, score_split
    from src.evaluation.predictions import Predictions
    from src.evaluation.record import read_record
    from src.evaluation.table import table
    from src.models.classifier import load_adapters
    from src.shell.overrides import to_schema
    from src.training.session import open_session

    run = Path(cfg.run)
    record = read_record(run)
    config = record["config"]
    config["device"] = cfg.device
    config["data"]["dir"] = cfg.data_dir or config["data"]["dir"]
    session = open_session(to_schema(TrainConfig, config))
    if session.cohort.fingerprint != record["cohort"]:
        raise UserError(f"{session.cfg.data.dir}: not the cohort that {run} was trained on; write data_dir=COHORT")
    classifier = load_adapters(session.base(), run / ADAPTERS, session.scheme.width, session.device)
    metrics: dict[str, float] = {}
    predictions: dict[Split, Predictions] = {}
    for split in (Split.VALIDATION, Split.TEST):
        predictions[split], measured = score_split(session, classifier, session.notes(split), split)
        metrics |= measured
    print(table({run.name: metrics}))
    worst = max(abs(metrics[name] - value) for name, value in record["metrics"].items() if value is not None)
    if worst > TOLERANCE:
        raise UserError(
            f"{run}: the numbers differ by {worst:.1e}, more than {TOLERANCE}; was it trained on another device?"
        )
    print(f"report: {describe(session, predictions, run, cfg.table5)}")
    print(f"largest difference from {run / 'result.json'}: {worst:.1e}")
    return metrics


def describe(session: "Session", predictions: "Mapping[Split, Predictions]", run: Path, table5: str | None) -> Path:
    """Writes what the predictions say into the run's folder; the file to begin with."""
    from src.cohort.split import Split
    from src.cohort.weights import read_weights
    from src.evaluation.report import write_report
    from src.training.notes import split_rows

    weights = read_weights(Path(table5) if table5 else None)
    trained = split_rows(session.cohort, Split.TRAIN, session.cfg.data.limit)["drg"].to_list()
    count = len(predictions[Split.TEST].drg)
    return write_report(
        run, session.cohort, session.space, predictions, trained, weights, session.cut(Split.TEST)[:count]
    )


def main() -> None:
    """The command."""
    command(EvaluateConfig, "evaluate", evaluate)


if __name__ == "__main__":
    main()
