"""The model card says what the model was trained on, what it expects, how to use it, and that nobody may publish it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.cli.errors import UserError
from src.cli.files import atomic_write
from src.cohort.disclosure import MIN_GROUP_PATIENTS, folded
from src.cohort.split import Split
from src.config.choices import Labels
from src.config.prepare import DrgSystem
from src.display.markdown import escaped
from src.display.spreadsheet import write_csv
from src.display.tables import table_of, to_markdown
from src.models.bases import DTYPES, locate
from src.models.prompts import WORDS_AFTER
from src.runs.record import RunRecord
from src.training.run_data import RunData

CARD, DRGS, ADAPTER = "README.md", "drgs.csv", "adapter"
CLASSES = "classes.csv"
"""The end of the name of a file beside the folder, which stays at the hospital: what its own classes are called."""

WARNING = """\
> **A model trained on MIMIC notes must not be published.** It may hold parts of the notes it was trained on. The data
> use agreement of MIMIC-IV-Note (PhysioNet) binds it as it binds the notes: share it only with people who signed the
> agreement themselves, over channels that it allows. The same holds for models of any hospital's notes."""

SUM = """places = np.array([[int(drg[key]) for key in keys] for drg in drgs])
scores = log_softmax(logits[:, places].sum(-1))"""

SCORES = {
    Labels.SINGLE: "scores = log_softmax(logits)",
    Labels.TWO: """base = np.array([int(drg["base_logit"]) for drg in drgs])
severity = np.array([int(drg["severity_logit"]) for drg in drgs])
K = base.max() + 1
possible = np.zeros((K, logits.shape[1] - K), bool)
possible[base, severity - K] = True
given_base = log_softmax(np.where(possible, logits[:, None, K:], -np.inf))
scores = log_softmax(logits[:, :K])[:, base] + given_base[:, base, severity - K]""",
    Labels.JOINT: f"""keys = ("logit", "base_logit", "severity_logit")\n{SUM}""",
    Labels.LEVELS: f"""keys = ("logit", "base_logit", "severity_logit", "mdc_logit", "type_logit")\n{SUM}""",
}
"""From the logits [B, width] to `scores` [B, D], log-probabilities of the DRGs, in numpy."""

MEANING = {
    Labels.SINGLE: "One logit a DRG; `id2label` names each by code and title.",
    Labels.TWO: (
        "The first K logits are base DRGs, the other S are CC/MCC states, as `id2label` says: none is a DRG. A DRG is "
        "scored as log p(base) + log p(severity | base), which no linear head gives; the recipe below does."
    ),
    Labels.JOINT: (
        "The first D logits are DRGs, then come K base DRGs and S CC/MCC states, as `id2label` says. A DRG's logit is "
        "its own plus its base's and its state's; the recipe below adds them up."
    ),
    Labels.LEVELS: (
        "The first D logits are DRGs, then come K base DRGs, S CC/MCC states, the MDCs, and medical and surgical, as "
        "`id2label` says. A DRG's logit is its own plus those of the four that it is of; the recipe below adds them up."
    ),
}


def logit_names(data: RunData) -> list[str]:
    """Names each logit: by a DRG's code and title, what else it stands for, or the number of a hospital's class."""
    title_of, public = _titles(data), data.cohort.public_names
    return [f"{public.get(name, name)} {title_of.get(name, '')}".strip() for name in data.scheme.logits]


def _titles(data: RunData) -> dict[str, str]:
    return {label.code: getattr(label, "title", "") for label in data.cohort.labels}


def write_drgs(path: Path, data: RunData) -> None:
    """Writes a row a DRG, in the order of the scores: its code, its title, and the logits that make it up."""
    logit_columns, title_of, public = data.scheme.logit_indices(), _titles(data), data.cohort.public_names
    rows = zip(*logit_columns.values(), strict=True)
    named = [[public[code], title_of[code], *row] for code, row in zip(data.space.codes, rows, strict=True)]
    write_csv(path, ["code", "title", *logit_columns], named)


def write_classes(path: Path, data: RunData) -> None:
    """Writes the names of a hospital's own classes; nothing for MS-DRGs, whose codes are known to all."""
    if data.cohort.record["drg_version"] is None:
        with atomic_write(path) as tmp:
            write_csv(tmp, ["class", "name"], [[name, code] for code, name in data.cohort.public_names.items()])


def card(data: RunData, record: RunRecord, written: Mapping[str, Any]) -> str:
    """Composes the text of README.md.

    Args:
        data: of the run.
        record: the run's.
        written: `precision`, `notes` and `difference` of the check, and `family`, the model's class.

    Raises:
        UserError: nothing says what the logits of its label scheme mean.
    """
    cfg = data.cfg
    if cfg.labels not in MEANING or cfg.labels not in SCORES:
        # A label scheme that is added elsewhere is refused here, not described wrongly.
        raise UserError(f"labels={cfg.labels}: the card lacks it; add it to src/exchange/card.py::MEANING and ::SCORES")
    base = Path(cfg.model.path).name if Path(locate(cfg.model)).is_dir() else cfg.model.path
    lora = f"LoRA r={cfg.lora.r}, alpha={cfg.lora.alpha} on {', '.join(cfg.lora.targets)}, merged"
    system = "apr" if data.cohort.record["drg_version"] == DrgSystem.APR else "ms"
    tag = "" if data.space.kind == "classes" else f"{system}-drg, "
    meaning = MEANING[cfg.labels].replace(
        "CC/MCC states", "severities of illness" if system == "apr" else "CC/MCC states"
    )
    parts = [
        f"---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags: [{tag}clinical, lora]\n---",
        f"# {base} for {len(data.space.codes)} {data.space.kind} from discharge summaries",
        WARNING,
        f"`{written['family']}` in {written['precision']}: {base}, {lora}. Labels: {cfg.labels}. {meaning}",
        f"## Data\n\n{_data(data)}",
        f"## Metrics\n\n{_metrics(data, record)}",
        f"## Use\n\n{_use(data)}",
        f"## In vLLM\n\n{_in_vllm(data)}",
        f"## The adapter\n\n{_adapter(data, written)}",
        f"## Check\n\nOn {written['notes']} test notes, in right-padded batches under plain transformers, the logits "
        f"differ from the run's by at most {written['difference']:.1e}. Trained with {_versions(record)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _data(data: RunData) -> str:
    record = data.cohort.record
    version = record.get("drg_version")
    labels = f"MS-DRG version {version}" if version else "own classes, numbered; their names stay at the hospital"
    labels = "APR-DRG with severity of illness" if version == DrgSystem.APR else labels
    facts = [
        f"Protocol `{record.get('protocol')}`, {labels}",
        f"split by {escaped(record.get('split', {}).get('by', 'file'))}, cohort {data.cohort.fingerprint}",
        f"sections: {', '.join(record.get('sections', [])) or 'as given'}",
    ]
    steps = folded(record["flow"]) if record.get("flow") else []
    heads = ["step", "excluded", "left"]
    flow = to_markdown(table_of(heads, [[step[head] for head in heads] for step in steps]))
    counts = [
        [name, *(split[key] for key in ("notes", "patients", "drgs"))] for name, split in record["splits"].items()
    ]
    splits = to_markdown(table_of(["split", "notes", "patients", data.space.kind], counts)).rstrip()
    limit = data.cfg.data.limit
    sampled = f"\n\nOf each split a sample of {limit:,} notes was used (`data.limit`)." if limit else ""
    return f"{'; '.join(facts)}.\n\n{flow}\n{splits}{sampled}"


def _metrics(data: RunData, record: RunRecord) -> str:
    limit = data.cfg.data.limit
    many = [
        split for split in (Split.TEST, Split.VALIDATION) if data.cohort.patients(split, limit) >= MIN_GROUP_PATIENTS
    ]
    if not many:
        return f"None: they are of fewer than {MIN_GROUP_PATIENTS} patients."
    metrics = record.metrics
    shown = {split.prefix for split in many}
    names = dict.fromkeys(name.split("/", 1)[1] for name in metrics if name.split("/")[0] in shown)
    rows = [[name, *(metrics.get(f"{split.prefix}/{name}") for split in many)] for name in names]
    return to_markdown(table_of(["metric", *map(str, many)], rows, digits=4)).rstrip()


def _use(data: RunData) -> str:
    cfg = data.cfg
    words = WORDS_AFTER[cfg.prompt]
    after = f", then the words {json.dumps(words)}" if words else ""
    text = ", ".join(data.cohort.record.get("sections", [])) or "the column that was given"
    expects = (
        f"The model reads a note's text ({text}) from its beginning, cut so that all fills {cfg.max_len} tokens at "
        f"most (`max_len`){after} (`prompt={cfg.prompt}`). Scores of another text mean nothing."
    )
    return f"""{expects}

```python
import csv

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."
notes = ["The text of one note.", "The text of another."]

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
with open(f"{{folder}}/{DRGS}", newline="", encoding="utf-8") as file:
    drgs = list(csv.DictReader(file))

after = tokenizer({json.dumps(words)}, add_special_tokens=False)["input_ids"]
cut = tokenizer(notes, truncation=True, max_length={cfg.max_len} - len(after))["input_ids"]
batch = tokenizer.pad({{"input_ids": [ids + after for ids in cut]}}, return_tensors="pt")
with torch.inference_mode():
    logits = model(**batch).logits.double().numpy()


def log_softmax(values):
    return values - np.logaddexp.reduce(values, axis=-1, keepdims=True)


{SCORES[cfg.labels]}
for row in scores:
    for index in np.argsort(-row)[:5]:
        print(f"{{np.exp(row[index]):.3f}}", drgs[index]["code"], drgs[index]["title"])
```"""


def _dtype(data: RunData) -> str:
    return str(DTYPES[data.precision]).removeprefix("torch.")


def _in_vllm(data: RunData) -> str:
    return f"""```
vllm serve . --served-model-name drg --runner pooling --convert classify --dtype {_dtype(data)}
```

`POST /classify` of `{{"model": "drg", "input": [ids + after for ids in cut], "use_activation": false}}`, the tokens of
the code above, answers with the logits of each note as `probs`; the lines from there on make DRGs of them. Without
`--dtype` vLLM may round weights to 16 bits."""


def _adapter(data: RunData, written: Mapping[str, Any]) -> str:
    gguf = sorted(path.name for path in Path(locate(data.cfg.model)).glob("*.gguf"))
    gguf_argument = f', gguf_file="{gguf[0]}"' if gguf else ""
    return f"""`{ADAPTER}/` holds adapter and head alone, in peft's format; peft loads the base from where it was.
Name `dtype` also with `AutoPeftModelForSequenceClassification`: without it the base keeps the format that it was stored
in, and the logits differ from the run's by its rounding.

```python
import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForSequenceClassification

path = PeftConfig.from_pretrained("{ADAPTER}").base_model_name_or_path
base = AutoModelForSequenceClassification.from_pretrained(
    path, num_labels={data.scheme.width}, pad_token_id={written["pad"]}, dtype=torch.{_dtype(data)}{gguf_argument}
)
model = PeftModel.from_pretrained(base, "{ADAPTER}").eval()
```"""


def _versions(record: RunRecord) -> str:
    kept = ("torch", "transformers", "peft")
    return ", ".join(f"{name} {record.versions[name]}" for name in kept if name in record.versions)
