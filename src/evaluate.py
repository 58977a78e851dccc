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
    from src.evaluation.outcome import ADAPTERS
    from src.evaluation.prefixes import measure_prefixes, report_prefixes
    from src.evaluation.reopen import reopen
    from src.evaluation.table import table
    from src.models.classifier import load_adapters

    run = Path(cfg.run)
    record, session = reopen(run, cfg.device, cfg.data_dir)
    longest = session.cfg.max_len
    if over := [length for length in cfg.prefixes if length > longest]:
        raise UserError(f"prefixes={over}: above max_len={longest}, with which {run} was trained")
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
