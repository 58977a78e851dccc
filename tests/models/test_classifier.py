from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.cli.errors import UserError
from src.cohort.apr import apr_drg
from src.cohort.msdrg import VERSIONS, load_drgs
from src.config.choices import Labels, Precision, Weights
from src.config.train import LoraConfig, ModelConfig
from src.models.bases import load_base
from src.models.classifier import Classifier, load_adapters, save_adapters, with_adapters
from src.models.engine.packing import pack
from src.models.labelspace import LabelSpace
from src.models.schemes import JointLabel, LevelsLabel, Scheme, SingleLabel, TwoLabel, build_scheme

LORA = LoraConfig(4, 8, 0.0, ["q_proj", "k_proj", "v_proj", "o_proj"])
SPACE = LabelSpace.from_labels(list(load_drgs().values()))


def tiny(path: str = "-", weights: Weights = Weights.RANDOM) -> ModelConfig:
    return ModelConfig("tiny", path, "Ask for access.", weights, 32, 64, 2, 4, 2, 300, 128, 10000.0, False)


def classifier(width: int = 7) -> Classifier:
    torch.manual_seed(0)
    made = with_adapters(load_base(tiny(), Precision.FP32, "cpu"), LORA, width, "cpu")
    for name, weight in made.trained().items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return made.eval()


NOTES = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17, 18]]


def scores(made: Classifier, notes: list[list[int]]) -> Tensor:
    with torch.inference_mode():
        return made(pack(notes))


def test_packed_notes_are_scored_as_if_each_were_alone() -> None:
    made = classifier()
    alone = torch.cat([scores(made, [note]) for note in NOTES])
    assert torch.allclose(scores(made, NOTES), alone, atol=1e-6)


def test_a_note_is_blind_to_its_neighbour() -> None:
    made = classifier()
    poisoned = [[99] * 7, *NOTES[1:]]
    assert torch.equal(scores(made, NOTES)[1:], scores(made, poisoned)[1:])


def test_scores_equal_transformers_own_sequence_classifier() -> None:
    from transformers import LlamaForSequenceClassification

    made = classifier()
    merged = made.backbone.merge_and_unload()
    config = merged.config
    config.num_labels, config.pad_token_id, config._attn_implementation = 7, 0, "sdpa"
    theirs = LlamaForSequenceClassification(config).eval()
    theirs.model.load_state_dict(merged.state_dict())
    theirs.score.weight.data.copy_(made.head.weight)
    ours = Classifier(merged, 32, 7, "cpu").eval()
    ours.head.weight.data.copy_(made.head.weight)
    with torch.inference_mode():
        told = theirs(input_ids=torch.tensor([NOTES[0]])).logits
    assert torch.allclose(told, scores(ours, [NOTES[0]]), atol=1e-5)


def test_the_attention_of_each_notes_last_token_is_what_transformers_computes() -> None:
    from transformers import LlamaModel

    made = classifier()
    weights = made.attention(pack(NOTES))
    merged = made.backbone.merge_and_unload()
    merged.config._attn_implementation = "eager"
    theirs = LlamaModel(merged.config).eval()
    theirs.load_state_dict(merged.state_dict())
    for note, ours in zip(NOTES, weights, strict=True):
        with torch.inference_mode():
            expected = theirs(input_ids=torch.tensor([note]), output_attentions=True).attentions[-1][0, :, -1]
        assert torch.allclose(ours, expected, atol=1e-5)
        assert torch.allclose(ours.sum(1), torch.ones(4))


def test_a_step_changes_adapters_and_head_and_nothing_else() -> None:
    made = classifier().train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    optimiser = torch.optim.AdamW(list(made.trained().values()), lr=0.1)
    torch.nn.functional.cross_entropy(made(pack(NOTES)), torch.tensor([0, 1, 2])).backward()
    optimiser.step()
    changed = {name for name, value in made.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.replace(".default.", ".") for name in changed} == set(made.trained())
    assert all("lora_" in name or name == "head.weight" for name in changed)


def test_saved_adapters_give_the_same_logits_on_a_fresh_base(tmp_path: Path) -> None:
    made = classifier()
    save_adapters(made, tmp_path / "adapter")
    torch.manual_seed(0)
    again = load_adapters(load_base(tiny(), Precision.FP32, "cpu"), tmp_path / "adapter", 7, "cpu").eval()
    assert torch.equal(scores(again, NOTES), scores(made, NOTES))


def test_a_head_of_another_width_is_refused(tmp_path: Path) -> None:
    save_adapters(classifier(), tmp_path / "adapter")
    with pytest.raises(UserError, match="the head is"):
        load_adapters(load_base(tiny(), Precision.FP32, "cpu"), tmp_path / "adapter", 8, "cpu")


def test_missing_weights_are_told_in_one_sentence_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"Ask for access\.") as told:
        load_base(tiny("no-such/model", Weights.PRETRAINED), Precision.FP32, "cpu")
    assert "\n" not in str(told.value)


def test_two_label_scores_are_a_distribution_over_all_757_drgs() -> None:
    scheme = TwoLabel(SPACE, 0.5)
    logits = torch.randn(6, scheme.width, generator=torch.Generator().manual_seed(1))
    joint = scheme.heads(logits)["scores"]
    assert joint.shape == (6, 757)
    assert torch.allclose(joint.exp().sum(1), torch.ones(6), atol=1e-5)


def test_two_label_scores_are_log_p_base_plus_log_p_severity_given_base() -> None:
    scheme = TwoLabel(SPACE, 0.5)
    logits = torch.randn(1, scheme.width, generator=torch.Generator().manual_seed(2)).double()
    base, severity = logits[0, :340].softmax(0), logits[0, 340:].softmax(0)
    place = SPACE.index["292"]
    k, s = SPACE.base[place], SPACE.severity[place]
    states = np.flatnonzero(SPACE.states[k])
    expected = base[k].log() + (severity[s] / severity[states].sum()).log()
    assert torch.allclose(scheme.heads(logits)["scores"][0, place], expected)


def test_the_losses_are_the_papers() -> None:
    logits = torch.randn(3, 345, generator=torch.Generator().manual_seed(3))
    drg = torch.tensor([0, 100, 756])
    base, severity = torch.tensor(SPACE.base)[drg], torch.tensor(SPACE.severity)[drg]
    ce = torch.nn.functional.cross_entropy
    expected = ce(logits[:, :340], base) + 0.5 * ce(logits[:, 340:], severity)
    assert torch.allclose(TwoLabel(SPACE, 0.5).loss(logits, drg), expected)
    wide = torch.randn(3, 757, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(SingleLabel(SPACE).loss(wide, drg), ce(wide, drg))


@pytest.mark.parametrize("labels", Labels)
def test_every_scheme_predicts_what_it_scores_best_and_scores_a_distribution(labels: Labels) -> None:
    scheme = build_scheme(labels, SPACE, 0.5)
    logits = torch.randn(5, scheme.width, generator=torch.Generator().manual_seed(5))
    for name, scores in scheme.heads(logits).items():
        assert torch.allclose(scores.exp().sum(1), torch.ones(5), atol=1e-5), name
    assert torch.equal(scheme.predict(logits), scheme.heads(logits)["scores"].argmax(1))


def test_joint_scores_add_the_drgs_own_its_bases_and_its_severitys_logits() -> None:
    scheme = JointLabel(SPACE, 0.5)
    logits = torch.randn(2, scheme.width, generator=torch.Generator().manual_seed(6)).double()
    own, base, severity = logits.split([757, 340, 5], 1)
    expected = torch.stack([own[:, d] + base[:, SPACE.base[d]] + severity[:, SPACE.severity[d]] for d in range(757)], 1)
    assert torch.allclose(scheme.heads(logits)["scores"], expected.log_softmax(1))
    assert torch.allclose(scheme.heads(logits)["base_scores"], base.log_softmax(1))
    drg = torch.tensor([3, 700])
    ce = torch.nn.functional.cross_entropy
    two = ce(base, torch.tensor(SPACE.base)[drg]) + 0.5 * ce(severity, torch.tensor(SPACE.severity)[drg])
    assert torch.allclose(scheme.loss(logits, drg), ce(expected, drg) + two)


def test_levels_add_mdc_and_type_to_the_joint_schemes_scores_and_loss() -> None:
    scheme, drgs = LevelsLabel(SPACE, 0.5), list(load_drgs().values())
    logits = torch.randn(2, scheme.width, generator=torch.Generator().manual_seed(7)).double()
    joint, mdc, kind = logits.split([757 + 345, 27, 2], 1)
    mdcs, kinds = sorted({drg.mdc for drg in drgs}), ["M", "P"]
    mdc_of, kind_of = [mdcs.index(drg.mdc) for drg in drgs], [kinds.index(drg.type) for drg in drgs]
    own, base, severity = joint.split([757, 340, 5], 1)
    expected = own + base[:, SPACE.base] + severity[:, SPACE.severity] + mdc[:, mdc_of] + kind[:, kind_of]
    assert torch.allclose(scheme.heads(logits)["scores"], expected.log_softmax(1))
    assert torch.allclose(scheme.heads(logits)["severity_scores"], severity.log_softmax(1))
    drg = torch.tensor([3, 700])
    ce = torch.nn.functional.cross_entropy
    two = ce(base, torch.tensor(SPACE.base)[drg]) + 0.5 * ce(severity, torch.tensor(SPACE.severity)[drg])
    levels = 0.5 * ce(mdc, torch.tensor(mdc_of)[drg]) + 0.5 * ce(kind, torch.tensor(kind_of)[drg])
    assert torch.allclose(scheme.loss(logits, drg), ce(expected, drg) + two + levels)


@pytest.mark.parametrize("version", [VERSIONS[0], VERSIONS[-1]])
def test_every_mdc_and_type_has_words_of_its_own(version: str) -> None:
    words = LevelsLabel(LabelSpace.from_labels(list(load_drgs(version).values())), 0.5).logits
    assert len(set(words)) == len(words)
    assert words[-2:] == ("medical", "surgical")
    assert "MDC 05 circulatory system" in words[-29:-2]


@pytest.mark.parametrize("labels", Labels)
def test_every_scheme_names_each_logit_and_those_of_each_drg(labels: Labels) -> None:
    scheme = build_scheme(labels, SPACE, 0.5)
    assert len(set(scheme.logits)) == scheme.width
    named = {name: scheme.logits[indices[SPACE.index["292"]]] for name, indices in scheme.logit_indices().items()}
    words = {
        "logit": "292",
        "base_logit": "base DRG HEART FAILURE AND SHOCK",
        "severity_logit": "severity WITH CC",
        "mdc_logit": "MDC 05 circulatory system",
        "type_logit": "medical",
    }
    assert named == {name: words[name] for name in named}


@pytest.mark.parametrize("scheme", [JointLabel(SPACE, 0.5), LevelsLabel(SPACE, 0.5)])
def test_every_head_of_a_scheme_learns(scheme: Scheme) -> None:
    logits = torch.zeros(1, scheme.width, requires_grad=True)
    scheme.loss(logits, torch.tensor([100])).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).all()


@pytest.mark.parametrize("labels", [Labels.TWO, Labels.JOINT, Labels.LEVELS])
def test_labels_without_base_and_severity_are_refused(labels: Labels) -> None:
    from src.cohort.prepared import OwnLabel

    space = LabelSpace.from_labels([OwnLabel("stroke"), OwnLabel("fall")])
    with pytest.raises(UserError, match=f"labels={labels}: .* write labels=single"):
        build_scheme(labels, space, 0.5)


def test_apr_drgs_are_bases_and_severities_of_illness_scored_over_the_labels_that_exist() -> None:
    labels = [apr_drg(code, {"194": "HEART FAILURE"}) for code in ("194-1", "194-4", "720-2", "720-4")]
    space = LabelSpace.from_labels(labels)
    scheme = build_scheme(Labels.TWO, space, 0.5)
    assert scheme.logits[:3] == ("base DRG 194 HEART FAILURE", "base DRG 720 APR-DRG 720", "severity OF ILLNESS 1")
    assert scheme.words[2:] == ("severity of illness 1", "severity of illness 2", "severity of illness 4")
    logits = torch.tensor([[1.0, 0.0, 0.0, 9.0, 0.0]])  # 194 with severity 2, which no label is
    scores = scheme.heads(logits)["scores"]
    assert torch.allclose(scores.exp().sum(1), torch.ones(1))
    assert scores[0, 0] == scores[0, 1]
    assert space.codes[int(scheme.predict(logits))] == "194-1"
    with pytest.raises(UserError, match="labels=levels: APR-DRG's MDCs and types are not public; write labels=joint"):
        build_scheme(Labels.LEVELS, space, 0.5)
