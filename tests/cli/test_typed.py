import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.types import Quote, QuotedString

from src.cli.compose import compose, compose_points, read_command_line, to_schema
from src.cli.errors import UserError
from src.cli.typed_words import parsed, spell
from src.compare import CompareConfig
from src.config.launch import SCHEMAS
from src.config.prepare import PrepareConfig
from src.config.train import TrainConfig
from src.runs.job import Job, config_of, write_job

ODD = [
    "2024_11_25", "3e5", "67217e15", "3e563", "007", "1_0", "true", "False", "1e3", "-0", "+1", "inf", "NaN", "1.",
    ".5", "1.50", "1:30", "on", "a b", "a (1)", "[a]", "{a:1}", "a#b", "ä", "R&D's", 'say "x"', "it's", "a=b", "a: b",
    "x(1)", "a%b", "~x", "'a", "a'", "日本", "a\\b", " a", "a ", "$x", "!",
]  # fmt: skip
SIGNS = "aZ01_9e.-+() []{}#'\"&=:~%@?*|/äß é$!;<>^`\\"


def random_texts(count: int) -> list[str]:
    """Texts that Hydra's own quotes, escapes and interpolations give no other meaning."""
    rng, texts = random.Random(11), list(ODD)
    while len(texts) < count:
        text = "".join(rng.choice(SIGNS) for _ in range(rng.randint(1, 9)))
        override = parsed(f"key={text}")
        meant = override is not None and isinstance(override._value, QuotedString)
        if not (meant or "${" in text or "\\" in text or text.startswith("~/")):
            texts.append(text)
    return texts


def in_double_quotes(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def named(cohort: Path, *words: str) -> list[str | None]:
    line = read_command_line([f"data.dir={cohort}", *words], "train")
    return [cfg.name for cfg in compose(TrainConfig, line)]


def prepared_from(*words: str) -> PrepareConfig:
    (cfg,) = compose(PrepareConfig, read_command_line(["data=csv", "data.text=T", "data.label=L", *words], "prepare"))
    return cfg


def problems(*words: str) -> str:
    with pytest.raises(UserError) as refusal:
        compose(TrainConfig, read_command_line(list(words), "train"))
    return str(refusal.value)


def test_any_text_that_was_typed_is_the_text_that_hydra_reads() -> None:
    texts = random_texts(1200)
    for text in texts:
        assert parsed(spell(f"name={text}", {"name": str | None})).value() == text
        quoted = f"name={in_double_quotes(text)}"
        assert parsed(spell(quoted, {"name": str})).value() == text
    assert len(set(texts)) > 1000


def test_any_texts_of_a_sweep_or_a_list_are_the_texts_that_hydra_reads() -> None:
    texts = random_texts(900)
    for start in range(0, len(texts), 3):
        some = texts[start : start + 3]
        quoted = ",".join(in_double_quotes(text) for text in some)
        swept = parsed(spell(f"name={quoted}", {"name": str}, multirun=True))
        assert [value.text for value in swept._value.list] == some
        assert parsed(spell(f"names=[{quoted}]", {"names": list[str]})).value() == some


@pytest.mark.parametrize("name", [name for name in ODD if name[0] != "."])
def test_a_run_is_named_as_it_was_typed(name: str, cohort: Path) -> None:
    assert named(cohort, f"name={name}") == [name]


def test_null_is_no_name_and_in_quotes_it_is(cohort: Path) -> None:
    assert named(cohort, "name=null") == [None]
    assert named(cohort, "name='null'") == ["null"]
    assert named(cohort, "-m", "name=null,Nullo") == [None, "Nullo"]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("name=3e5,007,true,a b", ["3e5", "007", "true", "a b"]),
        ("name=ä,1_0,'x,y'", ["ä", "1_0", "x,y"]),
        ("name=choice(1_0,3e5)", ["1_0", "3e5"]),
        ("name=range(1,3)", ["1", "2"]),
        (r"name=a\,b,c", ["a,b", "c"]),
    ],
)
def test_the_names_of_a_multirun_are_as_typed_one_by_one(word: str, names: list[str], cohort: Path) -> None:
    assert named(cohort, "-m", word) == names


def test_the_values_of_a_sweeps_file_are_as_they_stand_in_it(cohort: Path, tmp_path: Path) -> None:
    text = "defaults:\n  - train\n  - _self_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      "
    for stands, names in (("2024_11_25", ["2024_11_25"]), ("007,1e3", ["007", "1e3"]), ("3e5", ["3e5"])):
        (tmp_path / "mine.yaml").write_text(f"# @package _global_\n{text}name: {stands}\n", "utf-8")
        folder = ["--config-dir", str(tmp_path), "--config-name", "mine"]
        assert named(cohort, *folder) == names


def test_lists_of_texts_keep_each_text(runs: dict[str, Path], tmp_path: Path) -> None:
    places = []
    for name in ("1_0", "ä (1)", "R&D's"):
        (tmp_path / name).symlink_to(runs["single"])
        places.append(str(tmp_path / name))
    (cfg,) = compose(CompareConfig, read_command_line([f"runs=[{','.join(places)}]"], "compare"))
    assert cfg.runs == places
    assert parsed(spell("data.sections=[1_0,null,007]", {"data.sections": list[str]})).value() == ["1_0", "null", "007"]


@pytest.mark.parametrize(
    "name",
    ["notes (1).csv", "Fälle.csv", "a#b.csv", "R&D's.csv", "a=b.csv", "a,b.csv", 'say "x".csv', "[1] a.csv", " a.csv"],
)
def test_a_path_is_read_as_the_shell_gives_it_and_in_quotes(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("T,L\n")
    for word in (f"data.path={path}", f"data.path={in_double_quotes(str(path))}"):
        assert prepared_from(word, f"data.out={tmp_path / 'o'}").data.path == str(path)


def test_a_tilde_is_the_home_as_the_shell_would_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "n.csv").write_text("T,L\n")
    cfg = prepared_from("data.path=~/n.csv", "data.out=~/1e3")
    assert (cfg.data.path, cfg.data.out) == (str(tmp_path / "n.csv"), str(tmp_path / "1e3"))


def test_a_comma_is_answered_with_the_word_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refusal:
        prepared_from("data.path=our notes, a.csv", f"data.out={tmp_path / 'o'}")
    word = subprocess.run(
        ["sh", "-c", f"printf %s {str(refusal.value).split('or write ')[1].split(' for this text')[0]}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert parsed(word).value() == "our notes, a.csv"


def test_a_cell_gets_the_name_that_was_typed(cohort: Path, tmp_path: Path) -> None:
    line = read_command_line([f"data.dir={cohort}", "-m", "name=3e5,2024_11_25"], "train")
    for point in compose_points(TrainConfig, line).points:
        folder = tmp_path / str(point.config.name)
        folder.mkdir()
        write_job(Job(folder, point.config, point.words, point.launcher), "c")
        assert config_of(folder).name == folder.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2024_11_25", "3e5"]


def test_a_launchers_text_is_as_typed(cohort: Path) -> None:
    words = [f"data.dir={cohort}", "-m", "seed=1", "hydra/launcher=slurm", "hydra.launcher.account=1_0",
             "hydra.launcher.timeout_min=90"]  # fmt: skip
    (point,) = compose_points(TrainConfig, read_command_line(words, "train")).points
    launcher = to_schema(SCHEMAS["slurm"], point.launcher)
    assert (launcher.account, launcher.timeout_min) == ("1_0", 90)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["max_len=(1"], "max_len=(1: (1 is no value that max_len can have"),
        (["seed"], "seed: not of the form key=value"),
        (["max_lenn=(1"], "max_lenn=(1: there is no key max_lenn; did you mean max_len?"),
        (["-m", "lora.r=glob(*)"], "lora.r=glob(*): names no values to run; write its values, lora.r=A,B"),
        (["-m", "model=glob(x*)"], "model=glob(x*): names no values to run; there are caml"),
        (["-m", "lr=interval(0,1)"], "lr=interval(0,1): names no values to run; write its values, lr=A,B"),
        (["lora.targets=[ä"], "write 'lora.targets=['\"'\"'ä'\"'\"']'"),
    ],
)
def test_a_word_that_cannot_be_read_says_what_can(words: list[str], expected: str) -> None:
    assert expected in problems(*words)


def test_glob_names_the_files_of_a_group(cohort: Path) -> None:
    line = read_command_line([f"data.dir={cohort}", "-m", "model=glob([n*,p*])"], "train")
    assert [cfg.model.name for cfg in compose(TrainConfig, line)] == ["nano", "nanobert", "pico"]


def test_wrong_types_hide_no_wrong_values(cohort: Path) -> None:
    refusal = problems("lr=-1", "epochs=0", "max_len=ten", f"data.dir={cohort}")
    for expected in ("3 problems", "lr=-1", "epochs=0", "max_len=ten: must be a whole number"):
        assert expected in refusal


def test_flags_may_stand_between_overrides(cohort: Path) -> None:
    assert named(cohort, "seed=3", "-m", "name=a,b") == ["a", "b"]


@pytest.mark.parametrize("name", ["2024_11_25", "3e5"])
def test_a_command_makes_the_folder_that_was_typed(
    name: str, command: Callable[..., subprocess.CompletedProcess[str]], cohort: Path, tmp_path: Path
) -> None:
    words = ["model=majority", "device=cpu", f"data.dir={cohort}", f"out={tmp_path}", "wandb.mode=disabled"]
    command("src.train", *words, f"name={name}")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir() and path.name[0] != "."] == [name]
