"""Describes a prepared cohort: `python -m src.report data.dir=COHORT model=llama13b`."""

import json
from pathlib import Path

from src.config.report import ReportConfig
from src.shell.command import command

PAGE, NUMBERS = "report.html", "report.json"


def report(cfg: ReportConfig) -> None:
    """Writes `report.html` and `report.json` into the cohort's folder, and prints the report in short.

    Raises:
        UserError: the cohort or the tokenizer cannot be read, or the folder cannot be written.
    """
    from src.analysis.cohort_page import page
    from src.analysis.cohort_report import measure, read_lengths, summary
    from src.cohort.prepared import read_cohort
    from src.shell.errors import UserError
    from src.shell.files import replacing

    cohort = read_cohort(Path(cfg.data.dir))
    lengths = read_lengths(cohort, cfg)
    numbers = measure(cohort, lengths.tokens, cfg.lengths)
    out = Path(cfg.to or cfg.data.dir)
    written = {
        PAGE: page(numbers, lengths.words, lengths.tokens, lengths.tokenizer),
        NUMBERS: json.dumps({**numbers, "tokenizer": lengths.tokenizer}, indent=2) + "\n",
    }
    for name, text in written.items():
        try:
            with replacing(out / name) as beside:
                beside.write_text(text, "utf-8")
        except OSError as error:
            raise UserError(f"{out / name}: cannot be written ({error.strerror}); name a folder with to=DIR") from None
    print(f"{summary(numbers)}\ntokens: {lengths.tokenizer}\nreport: {out / PAGE}, {out / NUMBERS}")


def main() -> None:
    """The command."""
    command(ReportConfig, "report", report)


if __name__ == "__main__":
    main()
