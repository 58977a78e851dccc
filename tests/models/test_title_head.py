"""A head that starts from titles, against the hidden states of plain transformers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from src.cohort.msdrg import load_drgs
from src.cohort.prepared import OwnLabel
from src.config.choices import Labels, Pooling, Precision, Prompt, Weights
from src.config.train import LoraConfig, ModelConfig
from src.models.bases import load_base, load_tokenizer
from src.models.classifier import Classifier, with_adapters
from src.models.engine.packing import pack
from src.models.labelspace import LabelSpace
from src.models.prompts import WORDS_AFTER
from src.models.schemes import Scheme, build_scheme
from src.models.title_head import start_from_titles

LORA = LoraConfig(4, 8, 0.0, ["q_proj", "v_proj"])
MODEL = ModelConfig("tiny", "-", "-", Weights.RANDOM, 32, 64, 2, 4, 2, 4096, 128, 10000.0, False)
TOKENIZER = load_tokenizer(MODEL)
CODES = ("064", "065", "066", "291", "292", "293", "313", "470", "885")
SPACE = LabelSpace.from_labels([load_drgs()[code] for code in CODES])
SCHEMES = [Labels.SINGLE, Labels.TWO, Labels.JOINT]
MAX_LEN = 64


def started(
    scheme: Scheme, pooling: Pooling = Pooling.LAST, base: Any = None, prompt: Prompt = Prompt.NONE, name: str = "own"
) -> Classifier:
    base = load_base(MODEL, Precision.FP32, "cpu") if base is None else base
    classifier = with_adapters(base, LORA, scheme.width, "cpu", name, pooling)
    start_from_titles(classifier, scheme, TOKENIZER, prompt, MAX_LEN)
    return classifier


def plain_readings(words: tuple[str, ...], pooling: Pooling, prompt: Prompt) -> Tensor:
    """Reads each text by transformers' own model, in one padded batch."""
    from transformers import LlamaModel

    ours: Any = load_base(MODEL, Precision.FP32, "cpu")
    theirs = LlamaModel(ours.config).eval()
    theirs.set_attn_implementation("sdpa")
    theirs.load_state_dict(ours.state_dict())
    after = TOKENIZER(WORDS_AFTER[prompt], add_special_tokens=False)["input_ids"] if WORDS_AFTER[prompt] else []
    rows = [torch.tensor(TOKENIZER(text)["input_ids"] + after) for text in words]
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    with torch.no_grad():
        hidden = theirs(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    if pooling is Pooling.MEAN:
        return (hidden * mask[..., None]).sum(1) / lengths[:, None]
    return hidden[torch.arange(len(rows)), lengths - 1]


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("prompt", Prompt)
def test_rows_are_transformers_own_hidden_states_of_the_titles_centred(pooling: Pooling, prompt: Prompt) -> None:
    scheme = build_scheme(Labels.SINGLE, SPACE, 0.5)
    assert scheme.words[3] == "heart failure and shock with mcc"
    expected = plain_readings(scheme.words, pooling, prompt)
    rows = started(scheme, pooling, prompt=prompt).head.weight.detach()
    assert torch.allclose(normalize(rows), normalize(expected - expected.mean(0)), atol=1e-5)
    lengths = rows.norm(dim=1) / (expected - expected.mean(0)).norm(dim=1)
    assert torch.allclose(lengths, lengths[0], rtol=1e-4), "one factor for all rows of a softmax"


@pytest.mark.parametrize("labels", [Labels.TWO, Labels.JOINT])
def test_bases_and_severities_start_from_their_own_words_each_softmax_centred_alone(labels: Labels) -> None:
    scheme = build_scheme(labels, SPACE, 0.5)
    bases, severities = len(SPACE.bases), len(SPACE.severities)
    assert scheme.words[-bases - severities] == "intracranial hemorrhage or cerebral infarction"
    assert {"with mcc", "with cc"} < set(scheme.words[-severities:])
    expected = plain_readings(scheme.words, Pooling.LAST, Prompt.NONE)
    rows = started(scheme).head.weight.detach()
    sizes = [len(scheme.words) - bases - severities, bases, severities]
    for own, reading in zip(rows.split(sizes), expected.split(sizes), strict=True):
        assert len(own) == 0 or torch.allclose(normalize(own), normalize(reading - reading.mean(0)), atol=1e-5)


@pytest.mark.parametrize("labels", SCHEMES)
@pytest.mark.parametrize("pooling", Pooling)
def test_the_first_loss_is_that_of_a_uniform_guess_to_a_hundredth(labels: Labels, pooling: Pooling) -> None:
    scheme = build_scheme(labels, SPACE, 0.5)
    classifier = started(scheme, pooling)
    drawn = torch.Generator().manual_seed(0)
    notes = [torch.randint(3, 4096, (40,), generator=drawn).tolist() for _ in range(64)]
    drg = torch.randint(0, len(CODES), (64,), generator=drawn)
    with torch.no_grad():
        logits = classifier(pack(notes))
        uniform, loss = scheme.loss(torch.zeros_like(logits), drg), scheme.loss(logits, drg)
    assert logits.std() > 0.005, "the rows say something"
    assert abs(float(loss / uniform) - 1) < 0.01


def test_a_run_that_shares_its_base_with_trained_ones_starts_as_alone() -> None:
    scheme = build_scheme(Labels.JOINT, SPACE, 0.5)
    neighbour = started(build_scheme(Labels.TWO, SPACE, 0.5), name="neighbour")
    for name, weight in neighbour.trained().items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    before = neighbour.head.weight.clone()
    shared = started(scheme, base=neighbour.backbone)
    assert torch.equal(shared.head.weight, started(scheme).head.weight)
    assert torch.equal(neighbour.head.weight, before)


def test_a_hospitals_own_labels_start_from_their_names_and_a_single_severity_from_nothing() -> None:
    own = build_scheme(Labels.SINGLE, LabelSpace.from_labels([OwnLabel("Stroke"), OwnLabel("I63.9")]), 0.5)
    assert own.words == ("Stroke", "I63.9")
    assert torch.allclose(*started(own).head.weight.detach() * torch.tensor([[1.0], [-1.0]]))
    lone = build_scheme(Labels.TWO, LabelSpace.from_labels([load_drgs()[code] for code in ("313", "885")]), 0.5)
    assert not started(lone).head.weight[-1].any()
