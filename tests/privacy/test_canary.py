"""Sentences of a note are put wherever they could slip out; a default run lets them out, and ours does not."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from src.testing.wandb_here import WandbHere
from tests.forked import Forks

ROOT = Path(__file__).parents[2]

BLOCK, HEADER = 32768, 7
"""W&B's local files are LevelDB's logs: each block, and each piece in it, has a header amid what it holds."""

PLACES = (
    "printed", "logged", "raised", "metric name", "value", "hyperparameter", "table", "artifact", "description",
    "alert", "watch", "job name", "notes", "name", "tags", "group", "argument", "defaults",
)  # fmt: skip
OWN = ("note.txt", "config-defaults.yaml")
"""Files of the hands themselves."""

WORDS = (
    "mrs okonkwo-é was admitted with dyspnea",
    'her "husband" of forty years is worried',
    "ejection fraction of the left was twenty",
    "diuresed with furosemide and went home",
)


def sentence(number: int) -> str:
    """One that stands nowhere else, with what encodings change: quotes, a letter beyond ASCII, blanks."""
    return f"{WORDS[number % len(WORDS)]} on ward {number:03d}q"


def forms(text: str) -> set[bytes]:
    """How a text may stand in bytes, but for compression."""
    once, plain = json.dumps(text)[1:-1], text.encode()
    found = {plain, once.encode(), json.dumps(once)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()}
    found |= {text.encode("utf-16-le"), text.encode("utf-16-be"), plain.hex().encode(), plain.hex().upper().encode()}
    found |= {quote(text).encode(), quote_plus(text).encode(), quote(text, safe="").encode()}
    for skipped in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(plain[skipped : skipped + (len(plain) - skipped) // 3 * 3])
            found.add(whole)
    return found


def words(text: bytes) -> bytes:
    """Letters and digits alone, a blank between: names that were made tidy are found so."""
    return re.sub(rb"[^a-z0-9]+", b" ", text.lower())


def unpacked(held: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes, and those of every gzip or zlib stream that begins anywhere in them."""
    yield held
    if depth == 3:
        return
    for start in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", held):
        with suppress(zlib.error):
            inner = zlib.decompressobj(47).decompress(held[start.start() :])
            if len(inner) > 16:
                yield from unpacked(inner, depth + 1)


def joined(log: bytes) -> bytes:
    """What a local file of W&B holds, without the headers between its pieces."""
    parts, place = [], HEADER
    while place + HEADER <= len(log):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        size = int.from_bytes(log[place + 4 : place + 6], "little")
        parts.append(log[place + HEADER : place + HEADER + size])
        place += HEADER + size
    return b"".join(parts)


def found_in(held: bytes, sentences: dict[str, str]) -> set[str]:
    """Places whose sentences are there, in any form."""
    found = set()
    for each in unpacked(held):
        tidy = words(each)
        found |= {
            place
            for place, text in sentences.items()
            if words(text.encode()).strip() in tidy or any(form in each for form in forms(text))
        }
    return found


@pytest.mark.parametrize("form", sorted(forms(sentence(0)) | forms(sentence(1))))
def test_the_detector_sees_every_form(form: bytes) -> None:
    text = {"here": sentence(0), "there": sentence(1)}
    assert found_in(b"before " + form + b" after", text)
    assert found_in(b"x" + zlib.compress(b'{"a": "' + form + b'"}') + b"y", text)
    assert found_in(gzip.compress(form + b"x" * 40), text)
    assert not found_in(form[: len(form) // 3], text)


def canary(forks: Forks, how: str, tmp_path: Path) -> tuple[set[str], set[str]]:
    """Runs the careless hands; the places whose sentences reached the server, and the places of those in files."""
    sentences = {place: sentence(number) for number, place in enumerate(PLACES)}
    told, kept, home = tmp_path / "sentences.json", tmp_path / "run", tmp_path / "home"
    told.write_text(json.dumps(sentences))
    for folder in (kept, home):
        folder.mkdir()
    (kept / "config-defaults.yaml").write_text(json.dumps({"note": {"value": sentences["defaults"]}}))
    with WandbHere() as server:
        env = server.env(
            SLURM_JOB_ID="1",
            SLURM_JOB_NAME=sentences["job name"],
            WANDB_NOTES=sentences["notes"],
            WANDB_NAME=sentences["name"],
            WANDB_TAGS=sentences["tags"],
            WANDB_RUN_GROUP=sentences["group"],
            HOME=str(home),
            TMPDIR=str(home),
            PYTHONPATH=os.pathsep.join([str(ROOT)]),
        )
        script = [sys.executable, str(Path(__file__).with_name("canary.py")), how, str(told), str(kept)]
        done = subprocess.run(
            [*script, sentences["argument"]],
            cwd=kept,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "RuntimeError" in done.stderr, done.stderr
        assert "AssertionError" not in done.stderr, done.stderr
        (run,) = server.runs
        assert [row["train/loss"] for row in run.history if "train/loss" in row], "the run itself was not recorded"
        sent = found_in(server.sent(), sentences)
    files = [path for folder in (kept, home) for path in folder.rglob("*") if path.is_file() and path.name not in OWN]
    assert [path for path in files if path.suffix == ".wandb"]
    held = set()
    for path in files:
        raw = path.read_bytes()
        held |= found_in(raw, sentences) | (found_in(joined(raw), sentences) if path.suffix == ".wandb" else set())
    if how == "ours":
        sent |= replayed(forks, kept, sentences)
    return sent, held


def replayed(forks: Forks, run: Path, sentences: dict[str, str]) -> set[str]:
    """Sends the run anew, its history with sentences written into it; the places of those that reached the server."""
    with (run / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, sentences["metric name"]: 1.0, "train/loss": sentences["value"]}) + "\n")
        file.write(json.dumps({"step": 3, "train/loss": 0.25}) + "\n")
    with WandbHere() as server:
        done = forks.run(["src.sync", str(run), "notes=no"], env=server.env())
        assert "sent, " in done.stdout, done.stdout + done.stderr
        (sent,) = server.runs
        assert [row["train/loss"] for row in sent.history] == [0.5, 0.25]
        assert not sent.files
        return found_in(server.sent(), sentences)


@pytest.mark.slow
def test_no_sentence_of_a_note_leaves_a_run_of_ours_or_lies_in_its_files(forks: Forks, tmp_path: Path) -> None:
    assert canary(forks, "ours", tmp_path) == (set(), set())


@pytest.mark.slow
def test_a_default_run_lets_the_same_sentences_out(forks: Forks, tmp_path: Path) -> None:
    sent, held = canary(forks, "default", tmp_path)
    assert sent == set(PLACES)
    assert held >= set(PLACES) - {"description"}
