"""What a user reads of every command: its help, its configuration, and its refusals, word for word.

`commands/NAME.txt` holds them as at a terminal: a line `$ python -m src.NAME WORDS`, standard output, standard error
behind `2> `, and the status. A new case is its first line alone, then `DRG_LLAMA_GOLDEN=write`. FOLDER is where the
commands run, ROOT the project.
"""

import difflib
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.forked import Forks

GOLDEN = Path(__file__).parent / "commands"
PROMPT = "$ python -m src."
WRITE = os.environ.get("DRG_LLAMA_GOLDEN") == "write"
COMMANDS = sorted(path.stem for path in (ROOT / "src").glob("*.py") if "def main()" in path.read_text("utf-8"))

OWN_FILE = "data=csv data.path=notes.csv data.text=text data.label=drg data.patient=patient data.words=3 split_key=key"
QUICK = "model=majority out=runs"
MADE = [
    f"prepare {OWN_FILE} data.out=cohort",
    f"prepare {OWN_FILE} data.out=moved split_seed=1",
    f"train data.dir=cohort {QUICK} name=a",
    f"train data.dir=cohort {QUICK} name=b seed=1 wandb.mode=disabled",
    f"train data.dir=moved {QUICK} name=moved wandb.mode=disabled",
    "train data.dir=cohort labels=two out=llama name=l max_len=32 max_steps=2 data.limit=10 device=cpu threads=1"
    " wandb.mode=disabled",
]
"""Commands that make what the refusals need: two cohorts, three finished baselines and a LLaMA."""

SETTING = {
    "COLUMNS": "120",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "WANDB_BASE_URL": "http://127.0.0.1:9",
}
"""Environment in which the commands run: nobody is logged in, nothing answers."""


def material(folder: Path) -> None:
    """Writes the files that commands are pointed at."""
    rows = [f"{number // 2},Patient {number} was treated well today,{470 + number % 2}" for number in range(80)]
    (folder / "notes.csv").write_text("\n".join(["patient,text,drg", *rows]) + "\n", "utf-8")
    (folder / "header.csv").write_text("code,title\n470,MAJOR JOINT REPLACEMENT\n", "utf-8")
    (folder / "given.csv").write_text('id,text\na,"Treated well. Went home, was well."\n', "utf-8")
    (folder / "audited.csv").write_text("drg_code,description,v34\n470,MAJOR JOINT REPLACEMENT,470\n", "utf-8")
    (folder / "file").write_text("mine\n", "utf-8")
    (folder / "key").write_text("ab" * 32 + "\n", "utf-8")
    for name in ("empty", "mimic/note", "mimic/hosp", "plain", "keyless", "damaged/run"):
        (folder / name).mkdir(parents=True)
    (folder / "damaged" / "run" / "result.json").write_text('{"config": {}', "utf-8")
    (folder / "plain" / "split.csv").write_text("id,split\np0123456789abcdef,train\n", "utf-8")
    (folder / "keyless" / "split.csv").write_text(f"id,split\np{'0123456789abcdef' * 2},train\n", "utf-8")


def steady(text: str, folder: Path) -> str:
    """A text without what differs from one machine and one day to the next."""
    text = text.replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT")
    text = re.sub(r"usage: .*?\n(?=\S+: error)", "usage: ...\n", text, flags=re.DOTALL)  # argparse wraps as it likes
    text = re.sub(r" submitit_\w+", "", text)  # there with the extra `cluster` only
    text = re.sub(r"\b[0-9a-f]{12,}\b", "HEX", text)
    return re.sub(r"\b\d+(\.\d+)? (ms|s|min|h)\b", r"N \2", text)


def outcomes(lines: list[str], folder: Path, outputs: Path, forks: Forks) -> list[tuple[str, str, int]]:
    """Standard output, standard error and status of each line."""
    jobs = [[word.replace("ROOT", str(ROOT)) for word in shlex.split(line)] for line in lines]
    asked = [(name, words, str(outputs / str(number))) for number, (name, *words) in enumerate(jobs)]
    foreign = ("WANDB_", "SLURM_", "HYDRA_", "RAY_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    mine = {"HOME": str(folder), "NETRC": str(folder / "netrc"), "XDG_CACHE_HOME": str(folder / ".cache")}
    environment = {**kept, **SETTING, **mine}
    done = forks.run(["tests.golden.driver"], text=json.dumps(asked), cwd=folder, env=environment)
    assert len(done.stdout.split()) == len(lines), done.stdout + done.stderr
    texts = [[steady(Path(f"{path}.{end}").read_text("utf-8"), folder) for end in ("out", "err")] for *_, path in asked]
    return [(out, err, int(status)) for (out, err), status in zip(texts, done.stdout.split(), strict=True)]


@pytest.fixture(scope="module")
def transcripts(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> dict[str, str]:
    """What each command prints now for the words of its file."""
    folder = tmp_path_factory.mktemp("golden").resolve()
    material(folder)
    stored = "".join(path.read_text("utf-8") for path in sorted(GOLDEN.glob("*.txt")))
    cases = [line.removeprefix(PROMPT) for line in stored.splitlines() if line.startswith(PROMPT)]
    done = outcomes([*MADE, *cases], folder, tmp_path_factory.mktemp("outputs"), forks)
    assert not any(status for _, _, status in done[: len(MADE)]), done[: len(MADE)]
    texts = dict.fromkeys(COMMANDS, "")
    for line, (out, err, status) in zip(cases, done[len(MADE) :], strict=True):
        errors = "".join(f"2> {text}\n" for text in err.splitlines())
        texts[line.split()[0]] += f"{PROMPT}{line}\n{out}{errors}status {status}\n\n"
    return texts


def test_every_command_has_a_transcript_with_its_help_and_refusals() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == COMMANDS
    for name in COMMANDS:
        text = (GOLDEN / f"{name}.txt").read_text("utf-8")
        assert name == "cell" or f"{PROMPT}{name} --help\n" in text, name
        assert text.count("2> error: ") >= 2, name
        assert "Traceback" not in text, name


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_what_it_said(name: str, transcripts: dict[str, str]) -> None:
    path, now = GOLDEN / f"{name}.txt", transcripts[name]
    if WRITE:
        path.write_text(now, "utf-8")
    before = path.read_text("utf-8")
    difference = "\n".join(difflib.unified_diff(before.splitlines(), now.splitlines(), "stored", "now", lineterm=""))
    assert now == before, f"{difference}\nIf this is meant, DRG_LLAMA_GOLDEN=write stores it anew."
