import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from src.audit import AuditConfig
from src.cli.compose import CONF, compose, read_command_line
from src.cli.errors import UserError
from src.compare import CompareConfig
from src.config.prepare import PrepareConfig
from src.config.pretrain import PretrainConfig
from src.config.train import TrainConfig
from src.dashboard import DashboardConfig
from src.demo import DemoConfig
from src.evaluate import EvaluateConfig
from src.explain import ExplainConfig
from src.export import ExportConfig
from src.gauge import GaugeConfig
from src.hospital import HospitalConfig
from src.predict import PredictConfig
from src.report import ReportConfig, RunsReportConfig
from src.scaling import ScalingConfig
from src.serve import ServeConfig
from src.status import StatusConfig
from src.study import StudyAnalyseConfig, StudyPlanConfig
from src.sync import SyncConfig

SWEEPS = CONF.parent / "sweeps"
SCHEMAS = {
    "audit": AuditConfig,
    "compare": CompareConfig,
    "dashboard": DashboardConfig,
    "demo": DemoConfig,
    "evaluate": EvaluateConfig,
    "explain": ExplainConfig,
    "export": ExportConfig,
    "gauge": GaugeConfig,
    "hospital": HospitalConfig,
    "predict": PredictConfig,
    "prepare": PrepareConfig,
    "pretrain": PretrainConfig,
    "report": ReportConfig,
    "report_runs": RunsReportConfig,
    "scaling": ScalingConfig,
    "serve": ServeConfig,
    "status": StatusConfig,
    "study_analyse": StudyAnalyseConfig,
    "study_plan": StudyPlanConfig,
    "sync": SyncConfig,
    "train": TrainConfig,
}


def problems(name: str, *words: str) -> str:
    with pytest.raises(UserError) as told:
        compose(SCHEMAS[name], read_command_line(list(words), name))
    return str(told.value)


def test_every_configuration_file_composes(cohort: Path, hospital: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    given = {
        "audit": [f"runs=[{runs['single']}]"],
        "compare": [f"runs=[{runs['single']},{runs['two']}]"],
        "dashboard": [],
        "demo": [],
        "evaluate": [f"run={runs['two']}"],
        "explain": [f"run={runs['two']}", f"notes={hospital}", f"out={tmp_path / 'e.csv'}"],
        "export": [f"run={runs['two']}", f"out={tmp_path / 'e'}"],
        "gauge": [f"data.dir={cohort}"],
        "hospital": [f"out={tmp_path / 'h'}"],
        "predict": [f"run=[{runs['two']}]", f"notes={hospital}", f"out={tmp_path / 'p.csv'}"],
        "prepare": [f"data.dir={hospital}", f"data.out={tmp_path / 'c'}"],
        "pretrain": [f"data.dir={cohort}", f"out={tmp_path / 'b'}"],
        "report": [f"data.dir={cohort}"],
        "report_runs": [],
        "scaling": [],
        "serve": [f"run={runs['two']}"],
        "status": [],
        "study_analyse": [
            f"{name}={hospital / 'hosp' / 'drgcodes.csv.gz'}" for name in ("log", "adjudicated", "plan", "out")
        ],
        "study_plan": [f"cases={runs['single'] / 'result.json'}", "coders=[a,b,c]", f"out={tmp_path / 's'}"],
        "sync": [f"runs=[{runs['single']}]"],
        "train": [f"data.dir={cohort}"],
    }
    files = sorted(path.stem for path in CONF.glob("*.yaml"))
    assert files == sorted(given)
    assert len(files) == 21
    for name, words in given.items():
        assert len(compose(SCHEMAS[name], read_command_line(words, name))) == 1


def test_every_model_composes_with_the_papers_defaults_or_its_own(cohort: Path) -> None:
    models = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    words = ["caml", "clinicalbert", "fusion", "majority", "nanobert", "tfidf", "tfidf_cut"]
    baselines = [*words, "codes_upper_bound", "structured"]
    small, paper = ["femto", "nano", "pico"], ["llama13b", "llama2_13b", "llama2_7b", "llama3_8b", "llama7b"]
    llamas = [*small, *paper, "local", "smollm2"]
    assert models == sorted([*baselines, *llamas])
    assert "model.path: not given" in problems("train", "model=local", f"data.dir={cohort}")
    for model in set(models) - {"local"}:
        (cfg,) = compose(TrainConfig, read_command_line([f"model={model}", f"data.dir={cohort}"], "train"))
        assert cfg.model.name == model
        assert cfg.lora.targets == ["q_proj", "k_proj", "v_proj", "o_proj"]
        assert str(cfg.prompt) == ("diagnosis" if model in [*small, "tfidf_cut"] else cfg.prompt)


def test_every_sweep_composes_all_its_cells(early_cohort: Path) -> None:
    cells = {}
    for path in sorted(SWEEPS.glob("*.yaml")):
        line = read_command_line(
            ["--config-dir", str(SWEEPS), "--config-name", path.stem, f"data.dir={early_cohort}"], "train"
        )
        cells[path.stem] = len(compose(TrainConfig, line))
    assert cells == {
        "baselines": 6, "baselines_lr": 15, "context": 4, "full": 24, "horizon": 54, "labels": 2, "nano": 24,
        "nano_scaling": 27, "rank": 3, "scaling": 4, "search": 1, "seeds": 5, "smoke": 4, "table": 24,
    }  # fmt: skip


def test_the_command_of_the_mission_means_what_it_says(cohort: Path) -> None:
    words = ["model=llama13b", "max_len=1024", "lora.r=16", "labels=two", "seed=1", f"data.dir={cohort}"]
    (cfg,) = compose(TrainConfig, read_command_line(words, "train"))
    assert (cfg.model.layers, cfg.max_len, cfg.lora.r, str(cfg.labels), cfg.seed) == (40, 1024, 16, "two", 1)
    assert (cfg.lora.alpha, cfg.lora.dropout, str(cfg.prompt)) == (16, 0.05, "none")


def test_all_problems_are_told_at_once() -> None:
    told = problems(
        "train", "max_lenn=3", "+max_length=4", "lora.r=0", "model=llama13b", "max_len=5000", "data.dir=nowhere"
    )
    for expected in (
        "5 problems",
        "max_lenn=3: there is no key max_lenn; did you mean max_len?",
        "+max_length=4: there is no key max_length",
        "lora.r=0: must be at least 1",
        "max_len=5000: above the context of model=llama13b, which is model.context=2048",
        "data.dir=nowhere: no such folder",
    ):
        assert expected in told


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("model=llama99", "model=llama99: unknown; choose caml"),
        ("labels=three", "labels=three: must be one of single, two"),
        ("lr=fast", "lr=fast: must be a number"),
        ("epochs=0", "epochs=0: must be at least 1"),
        ("lora.targets=[wrong]", "lora.targets=['wrong']: must be some of q_proj"),
        ("device=gpu", "device=gpu: must be auto, cpu, cuda or cuda:N"),
        ("seed=1,2", "seed=1,2: several values; add -m"),
        ("'name=a'", "'name=a': not of the form key=value"),
        ("name=a/b", "name=a/b: must be one folder's name"),
        ("name=" + "a" * 300, "aaa: must be one folder's name, without / or a leading dot, of at most 150 bytes"),
        ("model.name=../../x", "model.name=../../x: must be one folder's name"),
        ("model.name=" + "a" * 300, "aaa: must be one folder's name, without / or a leading dot, of at most 100"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(word: str, expected: str, cohort: Path) -> None:
    assert expected in problems("train", word, f"data.dir={cohort}")


def test_a_key_of_peft_that_packed_training_has_not_is_refused_with_the_reason(cohort: Path, tmp_path: Path) -> None:
    typed = problems("train", f"data.dir={cohort}", "lora.dora=true")
    (tmp_path / "mine.yaml").write_text("defaults: [train, _self_]\nlora: {dora: true}\n")
    line = read_command_line(["--config-dir", str(tmp_path), "--config-name", "mine", f"data.dir={cohort}"], "train")
    with pytest.raises(UserError) as in_a_file:
        compose(TrainConfig, line)
    for message in (typed, str(in_a_file.value)):
        assert "lora.dora=True: DoRA divides by the norm" in message.replace("=true: ", "=True: ")
        assert "Leave it out; lora.rslora=true scales" in message
        assert "1 problem" in message


def test_mimic_files_in_place_of_a_cohort_give_the_command_that_prepares_them(hospital: Path) -> None:
    assert f"python -m src.prepare data.dir={hospital} data.out=COHORT" in problems("train", f"data.dir={hospital}")


def test_a_wrong_command_ends_with_status_2_and_no_traceback(
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = command("src.train", "max_lenn=3", ok=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_composed_configuration_can_be_printed(command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert "max_len: 1024" in command("src.train", "--cfg", "job", "model=llama13b", "max_len=1024").stdout
    of_sweep = command("src.train", "--config-dir", "sweeps", "--config-name", "scaling", "--cfg", "job", "lr=1e-5")
    assert "lr: 1.0e-05" in of_sweep.stdout, "the sweep of that name, not the command"
    missing = command("src.train", "--config-name", "nothing", "--cfg", "job", ok=False)
    assert missing.stderr.startswith("error: --config-name nothing: no such file in conf; there are audit, ")


def test_a_wrong_command_is_refused_before_torch_is_imported() -> None:
    import sys

    code = (
        "import sys; sys.argv = ['x', 'max_lenn=3']\nfrom src.train import main\n"
        "try:\n    main()\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CONF.parent, check=True)
    assert done.stdout.strip() == "False"
