"""Does what every entry point's `main` does around its work: reads its command line and reports its errors."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EPIPE
from io import TextIOWrapper
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from src.cli.compose import CONF, Schema, compose, read_command_line, spelt
from src.cli.errors import FULL, Interrupted, UserError, system_error_line
from src.cli.files import access_mask, check_folder
from src.cli.terminal import visible

S = TypeVar("S", bound=Schema)

OUTPUTS = {
    "compare": "out",
    "demo": "out",
    "explain": "out",
    "export": "out",
    "hospital": "out",
    "predict": "out",
    "prepare": "data.out",
    "pretrain": "out",
    "serve": "log",
    "status": "csv",
    "study_analyse": "out",
    "study_plan": "out",
}
"""The key of each command that names where its results go."""

FILES = ("explain", "predict", "serve", "status")
"""The commands of which that is a file, and of the others a folder."""


def command(schema: type[S], config_name: str, run: Callable[[S], object], typed: str | None = None) -> None:
    """Runs `run` on the configuration that the command line asks for.

    The values come from `conf/<config_name>.yaml` and the `key=value` words after the command.
    `--help` prints the keys with their values; `--cfg job` prints the composed configuration. `typed` is what stands
    after `python -m src.` where that is not the configuration's name.
    """
    with report_user_errors():
        line = read_command_line(sys.argv[1:], config_name)
        if line.shows:
            print(
                _described(
                    schema,
                    config_name,
                    typed or config_name,
                    spelt(schema, line).overrides,
                    whole="--cfg" not in sys.argv,
                )
            )
            return
        (config,) = compose(schema, line)
        check_output(config, OUTPUTS.get(config_name), config_name in FILES)
        run(config)


def check_output(config: object, key: str | None, is_file: bool) -> None:
    """Tries whether the results can be written where a key says, before they are worked out.

    Raises:
        UserError: they cannot.
    """
    value = attrgetter(key)(config) if key else None
    if value is None:
        return
    folder = Path(value)
    if is_file:
        if folder.is_dir():
            raise UserError(f"{folder}: is a folder; name a file with {key}=")
        folder = folder.parent
    check_folder(folder, f"name another with {key}=")


def apart(run: Callable[[S], object]) -> Callable[[S], None]:
    """Lets `run` work in a child of this process, which tells what became of it where memory runs out.

    A library in Rust ends its process then, and so does the system; neither raises.
    """

    def watched(cfg: S) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there is a child to pass it to
        child = os.fork()
        if not child:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            run(cfg)
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the terminal reaches the child by itself
        signal.signal(signal.SIGTERM, lambda received, frame: _pass_on(child, received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status in (-signal.SIGABRT, -signal.SIGKILL):
            raise UserError(f"memory ran out ({signal.Signals(-status).name}); run it where more is free")
        sys.exit(status if status >= 0 else 128 - status)

    return watched


def _pass_on(child: int, received: int) -> None:
    """Sends a signal on to a child, which may have ended before the signal is looked at."""
    with suppress(ProcessLookupError):
        os.kill(child, received)


def with_first_named(words: Sequence[str], key: str) -> list[str]:
    """Writes `key=` before the first word of a command where that word stands alone.

    >>> with_first_named(["smoke", "out=runs"], "sweep"), with_first_named(["out=runs"], "sweep")
    (['sweep=smoke', 'out=runs'], ['out=runs'])
    """
    alone = bool(words) and "=" not in words[0] and not words[0].startswith("-")
    return [f"{key}={words[0]}", *words[1:]] if alone else list(words)


def as_list(key: str, values: Sequence[str]) -> str:
    """Writes the word of a list of texts.

    >>> as_list("runs", ["runs/a/", "it's"])
    "runs=['runs/a','it\\\\'s']"
    """
    return f"{key}=[" + ",".join("'" + value.rstrip("/").replace("'", "\\'") + "'" for value in values) + "]"


@contextmanager
def report_user_errors() -> Iterator[None]:
    """Prints a UserError, or an error of the system, as one message and exits with status 2.

    A signal exits with 128 plus its number. What libraries write meanwhile is as private as what we write.
    """
    before = os.umask(0o077)
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.encoding.lower() not in ("utf-8", "utf8"):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:  # a file, or a program that reads on, is given every letter
            sys.stdout.reconfigure(encoding="utf-8")
    try:
        os.umask(access_mask())
        yield
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {visible(error)}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not (line := system_error_line(error)):
            raise
        if isinstance(error, OSError) and error.filename is None and error.errno in (EPIPE, *FULL):
            # Python flushes into the output again at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    finally:
        os.umask(before)


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
