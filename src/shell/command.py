"""What every entry point's `main` does around its work."""

import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from src.shell.errors import Interrupted, UserError
from src.shell.overrides import CONF, Schema, compose, read_command_line
from src.shell.terminal import visible

S = TypeVar("S", bound=Schema)


def command(schema: type[S], config_name: str, run: Callable[[S], object], typed: str | None = None) -> None:
    """Runs `run` on the configuration that the command line asks for.

    The values come from `conf/<config_name>.yaml` and the `key=value` words after the command.
    `--help` prints the keys with their values; `--cfg job` prints the composed configuration. `typed` is what stands
    after `python -m src.` where that is not the configuration's name.
    """
    with told_to_the_user():
        line = read_command_line(sys.argv[1:], config_name)
        if line.shows:
            print(_described(schema, config_name, typed or config_name, line.overrides, whole="--cfg" not in sys.argv))
            return
        (config,) = compose(schema, line)
        run(config)


def with_first_named(words: Sequence[str], key: str) -> list[str]:
    """The words of a command, the first as `key=` where it stands alone.

    >>> with_first_named(["smoke", "out=runs"], "sweep"), with_first_named(["out=runs"], "sweep")
    (['sweep=smoke', 'out=runs'], ['out=runs'])
    """
    alone = bool(words) and "=" not in words[0] and not words[0].startswith("-")
    return [f"{key}={words[0]}", *words[1:]] if alone else list(words)


@contextmanager
def told_to_the_user() -> Iterator[None]:
    """Prints a UserError as one message and exits with status 2; a signal exits with 128 plus its number."""
    try:
        yield
    except UserError as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if not _is_full(error):
            raise
        print(
            "error: the disk is full, or a limit on files is reached; free some space and run it again", file=sys.stderr
        )
        sys.exit(2)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _is_full(error: OSError) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return error.errno in full or any(f"(os error {number})" in str(error) for number in full)


def _described(schema: type[Schema], config_name: str, typed: str, overrides: list[str], whole: bool) -> str:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
        text = OmegaConf.to_yaml(hydra_compose(config_name, overrides))
    if not whole:
        return text.rstrip()
    about = (schema.__doc__ or "").strip()
    return f"{about}\n\npython -m src.{typed} KEY=VALUE ...\n\n{text.rstrip()}"
