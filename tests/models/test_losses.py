"""Every loss of one softmax beside its definition, written out in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from src.cohort.msdrg import load_drgs
from src.config.choices import Labels, Loss
from src.models.labelspace import LabelSpace
from src.models.losses import SoftmaxLoss, TrainingLoss
from src.models.schemes import JointLabel, TwoLabel, build_scheme

SPACE = LabelSpace.from_labels(list(load_drgs().values()))
DRG_NOTES = np.random.default_rng(0).poisson(np.random.default_rng(1).exponential(20, 757))
"""Of a training split with common, rare and absent DRGs."""

NOTES = np.array([60, 25, 9, 1, 0])
LOGITS = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
TARGET = torch.randint(5, (40,), generator=torch.Generator().manual_seed(1))


def softmax_loss(loss: Loss, strength: float | None = None, notes: NDArray[np.int64] = NOTES) -> SoftmaxLoss:
    return TrainingLoss(loss, strength, notes).of(np.arange(len(notes)), len(notes))


def defined(loss: Loss, strength: float) -> list[float]:
    """The loss of each note, as its paper defines it; a class without a note counts as having one."""
    counts, losses = np.maximum(NOTES, 1), []
    weights = counts**-strength
    mean_weight = sum(notes * weight for notes, weight in zip(NOTES, weights, strict=True)) / NOTES.sum()
    for logits, target in zip(LOGITS.numpy(), TARGET.numpy(), strict=True):
        p = np.exp(logits) / np.exp(logits).sum()
        shifted = np.exp(logits + strength * np.log(counts / NOTES.sum()))
        balanced = counts * np.exp(logits)
        value = {
            Loss.CROSS_ENTROPY: -np.log(p[target]),
            Loss.LOGIT_ADJUSTED: -np.log(shifted[target] / shifted.sum()),
            Loss.BALANCED_SOFTMAX: -np.log(balanced[target] / balanced.sum()),
            Loss.CLASS_WEIGHTED: weights[target] / mean_weight * -np.log(p[target]),
            Loss.FOCAL: (1 - p[target]) ** strength * -np.log(p[target]),
            Loss.LABEL_SMOOTHING: (1 - strength) * -np.log(p[target]) + strength * -np.log(p).mean(),
        }
        losses.append(float(value[loss]))
    return losses


@pytest.mark.parametrize(
    ("loss", "strength", "own"),
    [
        (Loss.CROSS_ENTROPY, 0.0, True),
        (Loss.LOGIT_ADJUSTED, 1.0, True),
        (Loss.LOGIT_ADJUSTED, 0.3, False),
        (Loss.BALANCED_SOFTMAX, 1.0, True),
        (Loss.CLASS_WEIGHTED, 0.5, True),
        (Loss.CLASS_WEIGHTED, 1.0, False),
        (Loss.FOCAL, 2.0, True),
        (Loss.FOCAL, 0.5, False),
        (Loss.LABEL_SMOOTHING, 0.1, True),
        (Loss.LABEL_SMOOTHING, 0.3, False),
    ],
)
def test_a_loss_is_its_papers(loss: Loss, strength: float, own: bool) -> None:
    computed = softmax_loss(loss, None if own else strength)
    expected = defined(loss, strength)
    assert float(computed(LOGITS, TARGET)) == pytest.approx(np.mean(expected), rel=1e-6)
    # Of one note alone too: a step is the same whatever its micro-batches are.
    alone = [float(computed(LOGITS[[row]], TARGET[[row]])) for row in range(len(TARGET))]
    assert alone == pytest.approx(expected, rel=1e-6, abs=1e-9)


def slope(loss: SoftmaxLoss, logits: Tensor, target: Tensor = TARGET) -> Tensor:
    leaf = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, target), leaf)[0]


@pytest.mark.parametrize("loss", [Loss.LOGIT_ADJUSTED, Loss.BALANCED_SOFTMAX, Loss.CLASS_WEIGHTED])
def test_what_reads_counts_trains_as_cross_entropy_where_all_are_equal(loss: Loss) -> None:
    equal = softmax_loss(loss, notes=np.full(5, 7))
    assert torch.allclose(slope(equal, LOGITS), slope(cross_entropy, LOGITS), atol=1e-7)


def test_balanced_softmax_is_logit_adjustment_with_tau_1() -> None:
    balanced, adjusted = softmax_loss(Loss.BALANCED_SOFTMAX), softmax_loss(Loss.LOGIT_ADJUSTED, 1.0)
    assert torch.allclose(balanced(LOGITS, TARGET), adjusted(LOGITS, TARGET), atol=1e-6)
    assert torch.allclose(slope(balanced, LOGITS), slope(adjusted, LOGITS), atol=1e-7)


def test_logit_adjustment_in_training_ends_where_that_of_a_trained_model_does() -> None:
    # Seven notes alike; what is free to say anything learns log p(class | note), here less tau log p(class).
    target = torch.tensor([0, 0, 0, 1, 2, 3, 4])
    shares = torch.tensor([3.0, 1, 1, 1, 1], dtype=torch.float64) / 7
    prior = torch.as_tensor(np.maximum(NOTES, 1) / NOTES.sum())
    after_the_fact = (shares.log() - 0.7 * prior.log()).expand(7, 5)
    adjusted = softmax_loss(Loss.LOGIT_ADJUSTED, 0.7)
    assert slope(adjusted, after_the_fact, target).sum(0).abs().max() < 1e-7
    assert slope(adjusted, shares.log().expand(7, 5), target).sum(0).abs().max() > 0.1


def test_weights_have_a_mean_of_1_over_the_training_notes() -> None:
    of_training = torch.as_tensor(np.repeat(np.arange(5), NOTES))
    uniform = torch.zeros(len(of_training), 5)
    assert float(softmax_loss(Loss.CLASS_WEIGHTED)(uniform, of_training)) == pytest.approx(np.log(5), rel=1e-6)


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("labels", Labels)
def test_every_loss_trains_every_scheme_with_drgs_that_no_training_note_has(labels: Labels, loss: Loss) -> None:
    scheme = build_scheme(labels, SPACE, 0.5, TrainingLoss(loss, None, DRG_NOTES))
    logits = torch.randn(4, scheme.width, generator=torch.Generator().manual_seed(2)).requires_grad_()
    drg = torch.tensor([0, int(np.flatnonzero(DRG_NOTES == 0)[0]), int(DRG_NOTES.argmax()), 756])
    value, plain = scheme.loss(logits, drg), build_scheme(labels, SPACE, 0.5).loss(logits, drg)
    assert torch.isfinite(torch.autograd.grad(value, logits)[0]).all()
    assert torch.equal(value, plain) is (loss is Loss.CROSS_ENTROPY)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_has_a_slope_where_a_note_is_certain(gamma: float) -> None:
    certain = torch.tensor([[200.0, 0.0], [0.0, 0.0]])
    assert torch.isfinite(slope(softmax_loss(Loss.FOCAL, gamma), certain, torch.tensor([0, 0]))).all()


def test_each_softmax_reads_the_counts_of_its_own_classes() -> None:
    adjusted = TrainingLoss(Loss.LOGIT_ADJUSTED, 1.0, DRG_NOTES)
    drg = torch.tensor([3, 700])
    base_target, severity_target = torch.tensor(SPACE.base)[drg], torch.tensor(SPACE.severity)[drg]

    def offset(class_of: NDArray[np.int64], classes: int) -> Tensor:
        counts = [max(int(DRG_NOTES[class_of == index].sum()), 1) for index in range(classes)]
        return torch.tensor([np.log(count / DRG_NOTES.sum()) for count in counts], dtype=torch.float32)

    logits = torch.randn(2, 345, generator=torch.Generator().manual_seed(3))
    base, severity = logits.split([340, 5], 1)
    of_base = cross_entropy(base + offset(SPACE.base, 340), base_target)
    expected = of_base + 0.5 * cross_entropy(severity + offset(SPACE.severity, 5), severity_target)
    assert torch.allclose(TwoLabel(SPACE, 0.5, adjusted).loss(logits, drg), expected)
    own = torch.randn(2, 757, generator=torch.Generator().manual_seed(4))
    whole = own + base[:, SPACE.base] + severity[:, SPACE.severity] + offset(np.arange(757), 757)
    joint = JointLabel(SPACE, 0.5, adjusted).loss(torch.cat([own, logits], 1), drg)
    assert torch.allclose(joint, cross_entropy(whole, drg) + expected)
