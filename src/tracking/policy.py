"""W&B runs under settings that show it what our own code logs, and nothing of the machine, its user or the notes.

Source: https://docs.wandb.ai/ref/python/settings. A version that does not know one of them begins no run: it raises.
"""

import configparser
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from src.config.choices import WandbMode
from src.runs.folder import RunFolder
from src.tracking.guard import LeakError, guarded

ENVIRONMENT = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_DISABLE_CODE": "true",
    "WANDB_DISABLE_GIT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_SAVE_CODE": "false",
    "WANDB_SILENT": "true",
}

KEPT = (
    "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_APP_URL", "WANDB_ENTITY", "WANDB_IDENTITY_TOKEN_FILE",
    "WANDB_CREDENTIALS_FILE", "WANDB_HTTP_TIMEOUT", "WANDB_INIT_TIMEOUT", "WANDB_INSECURE_DISABLE_SSL",
    "WANDB_HTTP_PROXY", "WANDB_HTTPS_PROXY", "WANDB__EXTRA_HTTP_HEADERS",
)  # fmt: skip
"""Of the user's own variables those that say where the server is and who asks; W&B sees none of WANDB_NOTES' kind."""

FROM_SETTINGS_FILE = {
    "base_url": "WANDB_BASE_URL",
    "entity": "WANDB_ENTITY",
    "insecure_disable_ssl": "WANDB_INSECURE_DISABLE_SSL",
}
"""What is taken from the user's own settings file, and the variable that says the same."""

FOLDERS = {
    "WANDB_CACHE_DIR": "cache",
    "WANDB_DATA_DIR": "data",
    "WANDB_ARTIFACT_DIR": "artifacts",
    "WANDB_CONFIG_DIR": "config",
}

IGNORED = tuple("/".join(["*"] * depth) for depth in range(1, 7))
"""No file of the run's folder is uploaded; `**` does not work here."""

OWN_HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")
"""W&B's own server, by the names that `wandb login` of 0.31 and of earlier versions keeps a key under."""

SECONDS_TO_START, SECONDS_TO_FINISH = 30.0, 60.0
"""A server that is lost must not hold a job of a sweep."""

SECONDS_TO_END = 5.0
"""Until W&B's process, which has nothing left to send, is ended by force; in health it ends within one."""

REFUSED = (
    "init", "log", "alert", "watch", "save", "define_metric", "log_artifact", "use_artifact", "log_model", "use_model",
    "link_model",
)  # fmt: skip
"""Functions of the module `wandb` that would send around the guard."""

REFUSED_OF_RUN = (
    *REFUSED[2:], "log_code", "upsert_artifact", "finish_artifact", "link_artifact", "write_logs", "display", "restore",
    "mark_preempting",
)  # fmt: skip
"""Methods of a run that would."""


REFUSED_KINDS = ("Artifact", "Table", "Html", "Image", "Audio", "Video", "Object3D", "Molecule", "Plotly")
"""What W&B would write into files of its own as soon as it is made."""


def refuse(*words: Any, **more: Any) -> NoReturn:
    """Stands in place of what would go around the guard.

    Raises:
        LeakError: always.
    """
    raise LeakError("only numbers go to W&B, through the run's recorder: no table, file, alert or run of another kind")


@contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Sets W&B's environment while a run is on: ours alone, its folders inside the run's; the user's own comes back."""
    before = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    kept = {name: value for name, value in before.items() if name in KEPT or name == "WANDB_SERVICE"}
    folders = {name: str(RunFolder(folder).wandb / leaf) for name, leaf in FOLDERS.items()}
    _set({**_settings_file(), **kept, **ENVIRONMENT, **folders})
    try:
        yield
    finally:
        _set(before)


def end_wandb(seconds: float = SECONDS_TO_END) -> None:
    """Ends W&B's process where no run of ours needs it, after these seconds by force.

    W&B itself waits without limit, and its process (0.31) may miss the word to end while a request has no answer.
    """
    from wandb.sdk import wandb_setup

    setup: Any = wandb_setup.singleton()
    if setup.most_recent_active_run:
        return
    with ExitStack() as stack:
        if setup._connection and setup._connection._proc:
            process = setup._connection._proc._process
            stack.callback(process.poll)  # W&B itself does not wait for a process that died
            watchdog = threading.Timer(seconds, process.kill)
            watchdog.start()
            stack.callback(watchdog.cancel)
        with suppress(Exception, SystemExit):  # W&B exits with the status of its process
            wandb_setup.teardown()


@contextmanager
def nothing_else() -> Iterator[None]:
    """Refuses, while a run of ours is on, what the module `wandb` would send for whoever asks it."""
    import wandb

    makers = [(wandb, name) for name in REFUSED] + [(getattr(wandb, kind), "__init__") for kind in REFUSED_KINDS]
    with ExitStack() as stack:
        for owner, name in makers:
            stack.enter_context(replaced(owner, name, refuse))
        yield


@contextmanager
def no_defaults() -> Iterator[None]:
    """Keeps what `config-defaults.yaml` in the working folder says out of our runs; W&B takes it into every run."""
    from wandb.sdk.wandb_config import Config

    with replaced(Config, "_load_defaults", lambda config: None):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Puts another value under a name of a module or a class, and at the end what was there before."""
    attributes = dict(vars(owner))
    setattr(owner, name, value)
    try:
        yield
    finally:
        if name in attributes:
            setattr(owner, name, attributes[name])
        else:
            delattr(owner, name)  # it is inherited again


def lock(run: Any) -> None:
    """Refuses what a run itself could send beside numbers of ours."""
    logger = logging.getLogger("wandb")  # what anybody says there would go into the run's debug.log
    for handler in [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]:
        logger.removeHandler(handler)
        handler.close()
    log = run.log
    run.log = lambda row, **more: log(guarded(row))
    for name in REFUSED_OF_RUN:
        if hasattr(run, name):
            setattr(run, name, refuse)


def settings() -> dict[str, Any]:
    """Gives the arguments of `wandb.Settings`, seconds where they are times."""
    import wandb

    flushing = {"x_transaction_log_flush_interval": 1.0}  # of 0.31 on; before, only our history survives a kill
    return {
        **{name: seconds for name, seconds in flushing.items() if name in wandb.Settings.model_fields},
        "console": "off",
        "capture_loggers": None,
        "disable_code": True,
        "save_code": False,
        "disable_git": True,
        "disable_job_creation": True,
        "x_disable_meta": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        "host": "redacted",
        "username": "redacted",
        "email": "redacted",
        "program": "drg",
        "program_relpath": "drg",
        "run_notes": "",
        "run_group": "",
        "x_stats_disk_paths": ("/",),
        "sync_tensorboard": False,
        "sagemaker_disable": True,
        "ignore_globs": IGNORED,
        "silent": True,
        "finish_timeout": SECONDS_TO_FINISH,
        "init_timeout": float(os.environ.get("WANDB_INIT_TIMEOUT", SECONDS_TO_START)),
    }


def asked_mode(mode: WandbMode) -> WandbMode:
    """Picks where a run is recorded: the stricter of the configuration's mode and of the user's WANDB_MODE."""
    if mode is WandbMode.AUTO:
        mode = WandbMode.ONLINE if logged_in() else WandbMode.OFFLINE
    strict = [WandbMode.ONLINE, WandbMode.OFFLINE, WandbMode.DISABLED]
    own = {"offline": WandbMode.OFFLINE, "dryrun": WandbMode.OFFLINE, "disabled": WandbMode.DISABLED}
    return max(mode, own.get(os.environ.get("WANDB_MODE", ""), WandbMode.ONLINE), key=strict.index)


def logged_in() -> bool:
    """Says whether W&B has a key for its server, in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import netrc

    url = os.environ.get("WANDB_BASE_URL") or _settings_file().get("WANDB_BASE_URL")
    hosts = [url.split("//")[-1].split("/")[0].split(":")[0]] if url else OWN_HOSTS
    try:
        credentials = netrc.netrc(os.environ.get("NETRC"))
        return any(credentials.authenticators(host) for host in hosts)
    except (OSError, netrc.NetrcParseError):
        return False


def _settings_file() -> dict[str, str]:
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "settings", "utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    section = parser["default"] if parser.has_section("default") else {}
    return {variable: section[key] for key, variable in FROM_SETTINGS_FILE.items() if key in section}


def _set(values: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        del os.environ[name]
    os.environ.update(values)
