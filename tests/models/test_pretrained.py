"""A model's folder brings data: no code of it is run, whatever it asks and whatever is answered."""

import json
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

from src.cli.errors import UserError
from src.config.architecture import own_architecture
from src.models.bases import STAND_IN
from src.models.pretrained import loaded
from tests.forked import Forks

ROOT = Path(__file__).parents[2]

CODE = """from pathlib import Path
Path({mark!r}).write_text("ran")
Config = Model = Tokens = object
"""
AUTO = {
    "AutoConfig": "hostile.Config", "AutoModel": "hostile.Model", "AutoTokenizer": ["hostile.Tokens", "hostile.Tokens"],
}  # fmt: skip


class Opened:
    """What creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return open, (str(self.mark), "w")


def changed(path: Path, **values: object) -> None:
    held = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**held, **values}))


def no_safetensors(folder: Path) -> None:
    for path in folder.glob("*.safetensors"):
        path.unlink()


def pickled(name: str) -> Callable[[Path, Path], None]:
    def write(folder: Path, mark: Path) -> None:
        no_safetensors(folder)
        (folder / name).write_bytes(pickle.dumps(Opened(mark)))

    return write


def with_gguf(folder: Path, mark: Path) -> None:
    no_safetensors(folder)
    (folder / "model.gguf").write_bytes(b"GGUF\x03\0\0\0" + pickle.dumps(Opened(mark)))


HOSTILE: dict[str, tuple[Callable[[Path, Path], None], str | None]] = {
    "config.json": (
        lambda folder, _: changed(folder / "config.json", model_type="odd", auto_map=AUTO),
        "config.json",
    ),
    "config.json of a known type": (lambda folder, _: changed(folder / "config.json", auto_map=AUTO), None),
    "tokenizer_config.json": (
        lambda folder, _: changed(folder / "tokenizer_config.json", tokenizer_class="Tokens", auto_map=AUTO),
        "code of its own",
    ),
    "generation_config.json": (
        lambda folder, _: changed(folder / "generation_config.json", custom_generate="hostile", auto_map=AUTO),
        None,
    ),
    "an attention of the hub": (
        lambda folder, _: changed(folder / "config.json", attn_implementation="somebody/kernel"),
        None,
    ),
    "pytorch_model.bin": (pickled("pytorch_model.bin"), "weights must be safetensors"),
    "model.pt": (pickled("model.pt"), "model.path="),
    "GGUF": (with_gguf, "model.path="),
}
"""How a folder is made hostile, and what is said where it cannot be used."""

SCRIPT = """
import sys
from src.config.choices import Precision
from src.config.train import TrainConfig
from src.models.bases import load_base, load_tokenizer
from src.cli.errors import UserError
from src.cli.compose import compose, read_command_line
try:
    words = [f"data.dir={sys.argv[2]}", "model=local", f"model.path={sys.argv[1]}", "max_len=64", "device=cpu"]
    (cfg,) = compose(TrainConfig, read_command_line(words, "train"))
    load_base(cfg.model, Precision.FP32, "cpu")
    load_tokenizer(cfg.model)
except UserError as error:
    print("UserError:", error)
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("plain")
    torch.manual_seed(0)
    sizes = {"vocab_size": 4096, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256}
    AutoModel.from_config(AutoConfig.for_model("llama", **sizes, **heads)).save_pretrained(where)
    AutoTokenizer.from_pretrained(STAND_IN).save_pretrained(where)
    return where


@pytest.mark.parametrize("what", HOSTILE)
def test_no_code_of_a_models_folder_is_run(forks: Forks, what: str, plain: Path, cohort: Path, tmp_path: Path) -> None:
    folder, mark = tmp_path / "model", tmp_path / "mark"
    folder.mkdir()
    for path in plain.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("hostile.py", "custom_generate/generate.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(CODE.format(mark=str(mark)))
    spoil, said = HOSTILE[what]
    spoil(folder, mark)
    done = forks.run(["-c", SCRIPT, str(folder), str(cohort)], text="y\n" * 20)
    assert not mark.exists()
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("UserError: ")]
    assert len(lines) == (said is not None), done.stdout
    if said is not None:
        assert said in done.stdout
        assert len(done.stdout.splitlines()) <= 2, done.stdout


def test_everything_is_read_through_one_function() -> None:
    callers = {
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if re.search(r"(?<!PeftModel)(?<!PeftConfig)\.from_pretrained\b(?!`)", path.read_text("utf-8"))
    }
    assert callers == {"pretrained.py", "card.py"}  # the card's are what another process runs


def test_a_hub_that_cannot_be_reached_is_told_within_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.getproxies", dict)
    model = SimpleNamespace(name="llama13b", access="Ask for it.")
    start = time.monotonic()
    with pytest.raises(UserError, match=r"model=llama13b model.path=nobody/nothing-7b: .* Ask for it."):
        loaded(model, AutoConfig, "nobody/nothing-7b")
    with pytest.raises(UserError, match=r"nobody/nothing-7b: no such folder, and no config.json from the hub"):
        own_architecture("nobody/nothing-7b")
    assert time.monotonic() - start < 3
