"""Runs commands one after another, each in a child of this process, which has imported the slow parts once.

Standard input holds a JSON list of `[command, words, file of its outputs]`; each status is printed as a line.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import sys
import traceback


def import_everything() -> None:
    """Imports what each command imports later, so that it is done once; what only benchmarks need is left out."""
    import src

    for module in pkgutil.walk_packages(src.__path__, "src."):
        if not module.name.startswith("src.benchmarks"):
            with contextlib.suppress(ImportError):  # of Triton
                importlib.import_module(module.name)


def status_of(command: str, words: list[str]) -> int:
    """The status of `python -m src.COMMAND WORDS`."""
    sys.argv = [f"{command}.py", *words]
    try:
        importlib.import_module(f"src.{command}").main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    cases = json.load(sys.stdin)
    import_everything()
    with contextlib.redirect_stdout(io.StringIO()):
        status_of("gauge", ["--cfg", "job"])  # Hydra looks for its plugins once
    gc.disable()
    gc.freeze()
    for command, words, outputs in cases:
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{outputs}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        status = status_of(command, words)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
