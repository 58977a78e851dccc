import json
import os
import re
from pathlib import Path

import polars as pl
import pytest

from src.cli.compose import compose, read_command_line
from src.cohort.prepared import read_cohort
from src.config.choices import Kind, WandbMode
from src.config.train import TrainConfig, WandbConfig
from src.runs.history import read_history
from src.tracking.guard import (
    LeakError,
    guarded,
    guarded_config,
    guarded_label,
    guarded_tags,
    public_model,
    public_name,
)
from src.tracking.policy import asked_mode, environment, logged_in, settings
from src.tracking.recorder import recording
from src.tracking.run_metadata import RunMetadata, about, run_name

ROOT = Path(__file__).parents[2]


def recorded(run_dir: Path) -> bytes:
    files = list((run_dir / "wandb").rglob("*.wandb"))
    assert len(files) == 1
    return b"".join(path.read_bytes() for path in (run_dir / "wandb").rglob("*") if path.is_file())


def configured(cohort: Path, *words: str) -> TrainConfig:
    (cfg,) = compose(TrainConfig, read_command_line([f"data.dir={cohort}", *words], "train"))
    return cfg


def test_a_run_is_recorded_offline_unless_asked_to_be_online(runs: dict[str, Path]) -> None:
    for run in runs.values():
        assert list((run / "wandb").glob("offline-run-*"))


def test_no_words_of_a_note_and_nothing_of_the_machine_is_recorded(runs: dict[str, Path], cohort: Path) -> None:
    import getpass
    import platform

    notes = pl.read_parquet(cohort / "notes.parquet")
    for run in runs.values():
        held = recorded(run)
        for text in notes["text"]:
            words = text.split()
            for start in range(0, len(words) - 5, 25):
                assert " ".join(words[start : start + 5]).encode() not in held
        node = re.escape(platform.node().encode())  # as a word: a name of two letters is part of many a random id
        assert not re.search(rb"(?<![A-Za-z0-9])" + node + rb"(?![A-Za-z0-9])", held)
        assert str(cohort).encode() not in held
        assert getpass.getuser() == "root" or getpass.getuser().encode() not in held


def test_metrics_axes_and_where_they_come_from_are_recorded(runs: dict[str, Path]) -> None:
    record = json.loads((runs["two"] / "result.json").read_text())
    held = recorded(runs["two"])
    defined = [name for name, value in record["metrics"].items() if value is not None]
    for key in [*defined, *record["axes"], record["cohort"], record["code"]["source"], "train/loss", "seconds/total"]:
        assert key.encode() in held, key


def test_the_policy_names_only_settings_that_exist() -> None:
    import wandb

    assert wandb.Settings(**settings()).x_disable_meta is True


@pytest.mark.parametrize(
    "values",
    [
        {"text": "Patient was admitted"},
        {"a b": 1},
        {"train/Okonkwo": 1.0},
        {"train/loss": "Okonkwo"},
        {"train/loss": None},
        {"train/loss": [1, 2]},
        {"test/accuracy/of/Okonkwo": 1.0},
        {"train/loss\n": 1.0},
        {"hadm_id": 20000001},
        {b"train/loss": 1.0},
    ],
)
def test_only_numbers_under_names_of_ours_are_metrics(values: dict[str, object]) -> None:
    with pytest.raises(LeakError) as told:
        guarded(values)
    assert "Patient" not in str(told.value)
    assert "Okonkwo" not in str(told.value)


@pytest.mark.parametrize(
    "values",
    [
        {"model": "Okonkwo"},
        {"model": "nano with chest pain"},
        {"labels": "Okonkwo"},
        {"lr": "Okonkwo"},
        {"Okonkwo": 1},
        {"cohort": "chest pain"},
        {"seed": [1]},
        {"code": b"0123456789ab"},
    ],
)
def test_no_single_word_of_a_note_is_a_value_of_the_configuration(values: dict[str, object]) -> None:
    with pytest.raises(LeakError) as told:
        guarded_config(values)
    assert "Okonkwo" not in str(told.value)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("name", "Okonkwo"),
        ("job type", "Okonkwo"),
        ("tag", "Okonkwo"),
        ("group", "chest pain"),
        ("project", "chest pain"),
        ("project", "a" * 41),
    ],
)
def test_what_a_run_is_found_by_is_guarded_too(what: str, value: str) -> None:
    with pytest.raises(LeakError, match=what) as told:
        guarded_label(what, value)
    assert value not in str(told.value)


def test_a_project_or_group_that_is_a_phrase_is_refused_before_anything_runs(cohort: Path) -> None:
    for key in ("wandb.project", "wandb.group"):
        with pytest.raises(ValueError, match=f"{key}=chest pain: must be"):
            configured(cohort, f"{key}='chest pain'")


def test_every_model_label_scheme_and_protocol_passes(cohort: Path, runs: dict[str, Path]) -> None:
    names = [path.stem for path in (ROOT / "conf" / "model").glob("*.yaml") if path.stem != "local"]
    assert len(names) > 12
    assert [name for name in names if public_model(name) != name] == []
    for run in runs.values():
        record = json.loads((run / "result.json").read_text())
        guarded_config(record["axes"])
        guarded({name: value for name, value in record["metrics"].items() if value is not None})
        guarded_tags([record["axes"]["labels"], str(Kind.LLAMA), record["axes"]["protocol"]])


def test_a_run_s_id_follows_from_configuration_cohort_and_name(cohort: Path) -> None:
    cfg = configured(cohort, "labels=two", "seed=3")
    name = run_name(cfg, "a" * 16)
    assert name == run_name(configured(cohort, "labels=two", "seed=3", "threads=2"), "a" * 16)
    assert guarded_label("name", name) == name == public_name(name)
    others = [configured(cohort, "labels=two", "seed=3", f"name={each}") for each in ("one", "okonkwo")]
    ids = [run_name(each, cohort) for each in (cfg, *others) for cohort in ("a" * 16, "b" * 16)]
    assert len(set(ids)) == 6, "runs of one name= on two cohorts, or of two names, are two runs"
    assert not [each for each in ids if "okonkwo" in each]
    assert [guarded_label("name", each) for each in ids] == ids


def test_what_a_run_is_found_by_says_what_it_is(cohort: Path) -> None:
    told = about(
        configured(cohort, "labels=two", "data.limit=20"), read_cohort(cohort), {"model": "smith-icu", "seed": 0}
    )
    assert (told.job_type, told.tags) == ("train", ("two", "llama", "clean"))
    assert told.config["model"].startswith("local-")
    assert guarded_config(told.config)["seed"] == 0
    assert set(told.patients) == {"train", "val", "test"}
    assert all(1 < count <= 20 for count in told.patients.values())
    baseline = about(configured(cohort, "model=tfidf"), read_cohort(cohort), {"model": "tfidf"})
    assert (baseline.job_type, baseline.tags[1]) == ("baseline", "tfidf")


def test_what_is_not_allowed_stops_the_run_before_its_history(tmp_path: Path) -> None:
    with recording(WandbConfig(WandbMode.DISABLED, "drg", None), tmp_path, RunMetadata()) as recorder:
        with pytest.raises(LeakError):
            recorder.log_metrics({"train/loss": "Okonkwo"}, 1)
        recorder.log_metrics({"train/loss": 0.5, "train/grad_norm": float("nan")}, 1)
    assert read_history(tmp_path) == {"train/loss": {1: 0.5}}


def test_w_and_b_sees_no_variable_but_where_the_server_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_CONFIG_DIR", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    file = tmp_path / ".config" / "wandb" / "settings"
    file.parent.mkdir(parents=True)
    file.write_text("[default]\nbase_url = https://wandb.hospital.example\nrun_notes = chest pain\n")
    for name in ("WANDB_NOTES", "WANDB_NAME", "WANDB_TAGS", "WANDB_RUN_GROUP", "WANDB_SWEEP_ID", "WANDB_DIR"):
        monkeypatch.setenv(name, "chest pain")
    monkeypatch.setenv("WANDB_ENTITY", "icu")
    before = dict(os.environ)
    with environment(tmp_path / "run"):
        seen = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    assert dict(os.environ) == before
    assert "chest pain" not in seen.values()
    assert (seen["WANDB_ENTITY"], seen["WANDB_BASE_URL"]) == ("icu", "https://wandb.hospital.example")
    assert seen["WANDB_ERROR_REPORTING"] == "false"
    assert all(
        str(tmp_path / "run") in seen[name] for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")
    )


def test_login_is_seen_in_the_environment_and_the_stricter_mode_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert not logged_in()
    assert asked_mode(WandbMode.AUTO) is WandbMode.OFFLINE
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert logged_in()
    assert asked_mode(WandbMode.AUTO) is WandbMode.ONLINE
    assert asked_mode(WandbMode.OFFLINE) is WandbMode.OFFLINE
    monkeypatch.setenv("WANDB_MODE", "online")
    assert asked_mode(WandbMode.OFFLINE) is WandbMode.OFFLINE
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert asked_mode(WandbMode.ONLINE) is WandbMode.DISABLED


def test_a_run_that_nobody_is_logged_in_for_is_recorded_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.tracking.recorder.logged_in", lambda: False)
    asked = []
    monkeypatch.setattr("src.tracking.recorder.open_line", lambda cfg, mode, *rest: asked.append(mode))
    with recording(WandbConfig(WandbMode.ONLINE, "drg", None), tmp_path, RunMetadata()):
        pass
    assert asked == [WandbMode.OFFLINE]
    assert "nobody is logged in" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com"])
def test_login_is_seen_in_netrc_under_either_name_of_wandbs_server(
    host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {'x' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    assert logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.hospital.example")
    assert not logged_in()
