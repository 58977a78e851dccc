"""The identities of runs and the names of their folders: what `identities.json` keeps may never change.

A run that is finished on somebody's disk is known again by its folder alone: with another hash, a sweep would train
every cell anew. Each case is the words of a command line; `folder` is the run's on the cohort of conftest.py, and
`identity` its identity on a cohort of the fingerprint below. Without a key that decides a result and a deliberate new
form, nothing here changes; new cases are added with `DRG_LLAMA_GOLDEN=write pytest tests/golden/test_identity.py`,
which keeps the old ones as they are.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.golden.doors import named

KEPT = Path(__file__).parent / "identities.json"
FINGERPRINT = "0123456789abcdef"
WORDS = [
    "",
    "model=femto",
    "model=pico labels=two",
    "model=nano labels=joint severity_weight=1.0 seed=3",
    "model=llama7b max_len=1024 lora.r=16 labels=two seed=1",
    "model=llama13b lora.r=4 lora.alpha=32 lora.dropout=0.1 precision=bf16",
    "model=llama2_7b max_len=2048 batch_size=16 micro_batch=2 epochs=5",
    "model=llama2_13b precision=nf4 lora.targets=[q_proj,v_proj]",
    "model=llama3_8b precision=int8 lora.targets=[q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj]",
    "model=smollm2 model.weights=random max_steps=20 data.limit=5",
    "model=nano data.limit=48 max_len=64 epochs=1",
    "model=nano prompt=none lr=0.0001 weight_decay=0 clip=0.5",
    "model=nano deterministic=true precision=fp32 max_steps=7",
    "model=local model.path=src/models/pico max_len=256",
    "model=local model.path=src/models/femto model.name=mine max_len=256 lr=3e-4",
    "model=llama7b model.path=src/models/nano max_len=128",
    "model=majority",
    "model=tfidf seed=2",
    "model=fusion data.limit=90",
    "model=structured epochs=2",
    "model=codes_upper_bound epochs=60",
    "model=caml epochs=2 max_len=40 labels=two",
    "model=clinicalbert epochs=1 labels=joint max_len=128",
    "model=clinicalbert model.weights=random model.hidden_size=16 model.layers=1 model.heads=2",
]
ELSEWHERE = [
    "out=elsewhere name=mine dry_run=true device=cpu threads=2 micro_batch=1 checkpointing=true checkpoint_minutes=0",
    "deterministic=true together=yes wandb.mode=disabled wandb.project=another wandb.group=another model.access=ask",
    "device=cuda devices=2 nodes=2 shard=true wandb.mode=online",
    "device=cuda:1 max_len=320 seed=0 labels=single model=nano data.limit=null",
]
"""Words that say where and how a run happens, or what is so without them."""


def case(words: str, cohort: Path) -> dict[str, str]:
    folder, identity = named([f"data.dir={cohort}", *words.split()], FINGERPRINT)
    return {"folder": str(folder), "identity": identity}


def test_the_cohort_that_folders_are_named_on_is_the_one_of_earlier_versions(few_notes: Path) -> None:
    assert json.loads((few_notes / "cohort.json").read_text("utf-8"))["fingerprint"] == "7bcc8569831f84b3"


@pytest.mark.skipif(os.environ.get("DRG_LLAMA_GOLDEN") != "write", reason="adds what is not kept yet, when asked")
def test_new_cases_are_written_beside_those_that_are_kept(few_notes: Path) -> None:
    kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
    whole = {words: kept.get(words) or case(words, few_notes) for words in WORDS}
    KEPT.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    assert kept.items() <= whole.items(), "a case that was kept is no longer asked"


def test_every_case_is_kept() -> None:
    assert list(json.loads(KEPT.read_text("utf-8"))) == WORDS


@pytest.mark.parametrize("words", WORDS)
def test_a_command_line_has_the_folder_and_the_identity_that_it_always_had(words: str, few_notes: Path) -> None:
    assert case(words, few_notes) == json.loads(KEPT.read_text("utf-8"))[words]


def test_every_case_has_an_identity_of_its_own() -> None:
    kept = json.loads(KEPT.read_text("utf-8")).values()
    assert len({case["identity"] for case in kept}) == len(WORDS)


@pytest.mark.parametrize("words", ELSEWHERE)
def test_where_and_how_a_run_happens_leaves_its_identity(words: str, few_notes: Path) -> None:
    assert case(words, few_notes)["identity"] == case("", few_notes)["identity"]


def test_the_same_notes_in_another_folder_leave_the_folder_of_a_run(few_notes: Path, tmp_path: Path) -> None:
    shutil.copytree(few_notes, tmp_path / "copy")
    assert case("", tmp_path / "copy") == case("", few_notes)
