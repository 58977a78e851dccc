import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from src.cohort.prepared import fingerprint, read_cohort
from src.cohort.split import Split
from src.config.choices import Prompt
from src.models.prompts import encode_notes, prompt_template
from src.training.notes import CutNotes, split_rows, token_lengths
from src.training.tokens import NOTES_AT_ONCE, NoteTokens, open_tokens, tokenizer_hash, user_cache
from tests.forked import Forks

ROOT = Path(__file__).parents[2]
NANO = str(ROOT / "src" / "models" / "nano")


@pytest.fixture
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(NANO)


@pytest.fixture
def own(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the cohort without tokens, and a user's cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(cohort, tmp_path / "cohort", ignore=shutil.ignore_patterns("tokens"))
    return tmp_path / "cohort"


def rewrite(folder: Path, notes: pl.DataFrame) -> None:
    """The cohort with other notes, as preparing it anew would leave it."""
    notes.write_parquet(folder / "notes.parquet")
    record = json.loads((folder / "cohort.json").read_text())
    (folder / "cohort.json").write_text(json.dumps({**record, "fingerprint": fingerprint(notes)}))


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("tokens/*/*"))}


def texts(folder: Path) -> list[str]:
    return pl.read_parquet(folder / "notes.parquet")["text"].to_list()


def whole(tokens: NoteTokens) -> list[list[int]]:
    return [tokens.head(row, 10**6) for row in range(len(tokens))]


def with_end(tokenizer: Any) -> Any:
    """The small base's tokenizer with a token of its own before and after a note."""
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<a> $A <b>", pair="<a> $A $B <b>", special_tokens=[("<a>", 0), ("<b>", 1)]
    )
    return tokenizer


@pytest.mark.parametrize("max_len", [16, 64, 320, 100_000])
@pytest.mark.parametrize("prompt", list(Prompt))
@pytest.mark.parametrize("change", [lambda same: same, with_end], ids=["start", "start and end"])
def test_notes_cut_from_the_map_are_those_of_encode_notes(
    change: Callable[[Any], Any], prompt: Prompt, max_len: int, own: Path, tokenizer: Any
) -> None:
    tokenizer, cohort = change(tokenizer), read_cohort(own)
    rows = split_rows(cohort, Split.TEST)["row"].to_numpy()
    cut = CutNotes(open_tokens(cohort, tokenizer), rows, prompt_template(tokenizer, prompt, max_len))
    assert list(cut) == encode_notes(tokenizer, cohort.notes(Split.TEST)["text"].to_list(), prompt, max_len)
    assert list(cut[3:5]) == [cut[3], cut[4]]


def test_tokens_lie_in_a_file_as_small_numbers(own: Path, tokenizer: Any) -> None:
    tokens = open_tokens(read_cohort(own), tokenizer)
    assert isinstance(tokens.ids, np.memmap)
    assert tokens.ids.dtype == np.uint16
    assert len(tokens) == len(texts(own)) > NOTES_AT_ONCE
    tokenizer.add_tokens([f"<{number}>" for number in range(2**16)])
    assert open_tokens(read_cohort(own), tokenizer).ids.dtype == np.uint32


def test_lengths_are_those_before_cutting(own: Path, tokenizer: Any) -> None:
    cohort = read_cohort(own)
    rows = split_rows(cohort, Split.TRAIN, 40)["row"].to_numpy()
    around = prompt_template(tokenizer, Prompt.DIAGNOSIS, 64).tokens
    lengths = token_lengths(open_tokens(cohort, tokenizer).lengths(rows) + around, 64)
    known = [
        len(ids)
        for ids in encode_notes(tokenizer, cohort.notes(Split.TRAIN, 40)["text"].to_list(), Prompt.DIAGNOSIS, 10**6)
    ]
    assert lengths["mean"] == pytest.approx(np.mean(known))
    assert lengths["longest"] == max(known)
    assert lengths["share_cut"] == np.mean(np.array(known) > 64)


def test_a_second_opening_makes_nothing(own: Path, tokenizer: Any) -> None:
    open_tokens(read_cohort(own), tokenizer)
    before = files(own)
    tokenizer(["used with a cut in between"], truncation=True, max_length=3)
    open_tokens(read_cohort(own), tokenizer)
    assert files(own) == before
    assert set(before) == {"ids.npy", "offsets.npy", "tokens.json"}


def test_two_processes_at_once_make_one_whole_cache(own: Path, tmp_path: Path, tokenizer: Any, forks: Forks) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from transformers import AutoTokenizer\n"
        "from src.cohort.prepared import read_cohort\nfrom src.training.tokens import open_tokens\n"
        "cohort, log, gate = map(Path, sys.argv[1:])\n"
        f"tokenizer = AutoTokenizer.from_pretrained({NANO!r})\n"
        "class Counted:\n"
        "    def __getattr__(self, name): return getattr(tokenizer, name)\n"
        "    def __call__(self, *args, **how):\n"
        "        log.open('a').write('x')\n"
        "        time.sleep(0.3)\n"
        "        return tokenizer(*args, **how)\n"
        "with gate.open('a') as file: file.write('x')\n"
        "while len(gate.read_text()) < 2: time.sleep(0.01)\n"
        "print(len(open_tokens(read_cohort(cohort), Counted())))\n"
    )
    words = [forks.python, "-c", code, str(own), str(tmp_path / "log"), str(tmp_path / "gate")]
    jobs = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [job.communicate(timeout=100)[0].strip() for job in jobs]
    count = len(texts(own))
    assert told == [str(count)] * 2
    assert len((tmp_path / "log").read_text()) == -(-count // NOTES_AT_ONCE)
    assert len(files(own)) == 3
    assert whole(open_tokens(read_cohort(own), tokenizer)) == tokenizer(texts(own), add_special_tokens=False).input_ids


def test_a_changed_text_is_read_anew(own: Path, tokenizer: Any) -> None:
    before = whole(open_tokens(read_cohort(own), tokenizer))
    notes = pl.read_parquet(own / "notes.parquet")
    text = pl.when(pl.col("hadm_id") == notes["hadm_id"][7]).then(pl.lit("Another course.")).otherwise("text")
    rewrite(own, notes.with_columns(text=text))
    after = whole(open_tokens(read_cohort(own), tokenizer))
    assert [row for row in range(len(after)) if after[row] != before[row]] == [7]
    assert tokenizer.decode(after[7]) == "Another course."


def test_changed_labels_leave_the_tokens_as_they_are(own: Path, tokenizer: Any) -> None:
    before = whole(open_tokens(read_cohort(own), tokenizer))
    rewrite(own, pl.read_parquet(own / "notes.parquet").with_columns(drg=pl.lit("871")))
    cohort = read_cohort(own)
    assert whole(open_tokens(cohort, tokenizer)) == before
    assert set(split_rows(cohort, Split.TEST)["drg"]) == {"871"}


def test_another_tokenizer_of_the_same_name_has_tokens_of_its_own(own: Path, tokenizer: Any) -> None:
    cohort, other = read_cohort(own), AutoTokenizer.from_pretrained(NANO)
    other.add_tokens(["patient"])
    assert tokenizer_hash(other) != tokenizer_hash(tokenizer)
    assert whole(open_tokens(cohort, other)) != whole(open_tokens(cohort, tokenizer))
    assert len(files(own)) == 3
    assert len(list(own.glob("tokens/*/ids.npy"))) == 2


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-50] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut_short, flip, Path.unlink])
@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "tokens.json"])
def test_damage_is_repaired(name: str, harm: Callable[[Path], None], own: Path, tokenizer: Any) -> None:
    good = whole(open_tokens(read_cohort(own), tokenizer))
    (path,) = own.glob(f"tokens/*/{name}")
    harm(path)
    assert whole(open_tokens(read_cohort(own), tokenizer)) == good
    assert path.parent.with_name(f"{path.parent.name}.damaged").is_dir()


def test_a_cohort_that_cannot_be_written_keeps_its_tokens_with_the_user(own: Path, tokenizer: Any) -> None:
    if os.geteuid() == 0:
        (own / "tokens").write_text("")  # root writes into any folder, so a file is in the way
    own.chmod(0o555)
    tokens = open_tokens(read_cohort(own), tokenizer)
    own.chmod(0o755)
    assert Path(str(tokens.ids.filename)).is_relative_to(user_cache())  # type: ignore[attr-defined]
    assert user_cache().stat().st_mode & 0o077 == 0
    assert whole(tokens) == tokenizer(texts(own), add_special_tokens=False).input_ids


def test_a_dry_run_counts_every_training_note(own: Path, command: Callable[..., Any]) -> None:
    told = command("src.train", f"data.dir={own}", "dry_run=true").stdout
    assert f"tokens of {split_rows(read_cohort(own), Split.TRAIN).height:,} notes" in told
