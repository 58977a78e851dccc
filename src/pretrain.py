"""Makes a small LLaMA or BERT from the training notes of a cohort: `python -m src.pretrain data.dir=COHORT out=DIR`."""

from pathlib import Path

from src.cli.command import command
from src.config.choices import Objective
from src.config.pretrain import PretrainConfig


def pretrain(cfg: PretrainConfig) -> None:
    """Trains the tokenizer, then the base, and writes both to a folder that `model.path=` takes.

    Raises:
        UserError: the cohort cannot be read, or `out` is not empty.
    """
    from src.cli.files import atomic_folder
    from src.cohort.prepared import read_cohort
    from src.cohort.split import Split
    from src.models.pretraining import train_base, write_base
    from src.models.tokenizer import train_tokenizer, train_word_pieces

    notes = read_cohort(Path(cfg.data.dir)).notes(Split.TRAIN)
    courses, diagnoses = notes["text"].to_list(), notes["diagnosis"].to_list()
    with atomic_folder(Path(cfg.out)) as folder:
        train = train_word_pieces if cfg.objective is Objective.MASKED else train_tokenizer
        tokenizer = train([*courses, *diagnoses], cfg.vocab_size, cfg.context)
        model, measured = train_base(tokenizer, courses, diagnoses, cfg)
        write_base(folder, tokenizer, model, cfg, measured)
    print(f"{cfg.out}: perplexity {measured['perplexity']:.2f} on held-out training notes, {measured['seconds']:.0f} s")


def main() -> None:
    """Runs the command."""
    command(PretrainConfig, "pretrain", pretrain)


if __name__ == "__main__":
    main()
