"""Keeps the libraries' own messages off the terminal."""

import logging

# When this is imported, for a process that others are forked from: peft imports bitsandbytes wherever it is installed.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Leaves the terminal to our own lines: no tips, no loading bars, no warnings about how a loop is built."""
    import warnings

    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for message in (
        ".*isinstance.treespec.*",
        ".*in eval mode at the start.*",
        ".*Could not find a config file.*",
        ".*is_gradient_checkpointing.*",
        ".*srun. command is available.*",
        ".*FSDP2-wrapped module .* returned a view.*",
    ):
        warnings.filterwarnings("ignore", message=message)
