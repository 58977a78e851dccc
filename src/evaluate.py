"""Scores a finished run again and compares with its record: `python -m src.evaluate run=runs/NAME`."""

from pathlib import Path

from src.config.evaluate import EvaluateConfig
from src.shell.command import command
from src.shell.errors import UserError

TOLERANCE = 1e-6
"""Metrics of the same weights on the same device agree to this."""


def evaluate(cfg: EvaluateConfig) -> dict[str, float]:
    """Rebuilds the run's model from its adapters, scores validation and test, and prints the metrics.

    With `prefixes` it also tells what fewer tokens give, and leaves that curve in the run's folder.

    Returns:
        The metrics, as `result.json` names them.

    Raises:
        UserError: the cohort is another one, weights are missing, or a metric differs from the record.
    """
    from src.cohort.split import Split
    from src.config.train import TrainConfig
    from src.evaluation.outcome import ADAPTERS
    from src.evaluation.prefixes import measure_prefixes, report_prefixes
    from src.evaluation.record import read_record
    from src.evaluation.table import table
    from src.models.classifier import load_adapters
    from src.shell.overrides import to_schema
    from src.training.session import open_session

    run = Path(cfg.run)
    record = read_record(run)
    config = record["config"]
    longest = config["max_len"]
    if over := [length for length in cfg.prefixes if length > longest]:
        raise UserError(f"prefixes={over}: above max_len={longest}, with which {run} was trained")
    config["device"] = cfg.device
    config["data"]["dir"] = cfg.data_dir or config["data"]["dir"]
    session = open_session(to_schema(TrainConfig, config))
    if session.cohort.fingerprint != record["cohort"]:
        raise UserError(f"{session.cfg.data.dir}: not the cohort that {run} was trained on; write data_dir=COHORT")
    classifier = load_adapters(session.base(), run / ADAPTERS, session.scheme.width, session.device)
    lengths = sorted({*cfg.prefixes, longest})
    splits = (Split.VALIDATION, Split.TEST)
    curves = {split: measure_prefixes(session, classifier, split, lengths) for split in splits}
    metrics = {name: value for split in splits for name, value in curves[split][longest].items()}
    print(report_prefixes(session, curves, run) if cfg.prefixes else table({run.name: metrics}))
    worst = max(abs(metrics[name] - value) for name, value in record["metrics"].items() if value is not None)
    print(f"largest difference from {run / 'result.json'}: {worst:.1e}")
    if worst > TOLERANCE:
        raise UserError(
            f"{run}: the numbers differ by {worst:.1e}, more than {TOLERANCE}; was it trained on another device?"
        )
    return metrics


def main() -> None:
    """The command."""
    command(EvaluateConfig, "evaluate", evaluate)


if __name__ == "__main__":
    main()
