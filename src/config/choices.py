"""Names the choices of a training run's configuration: what may stand for each key of words."""

from enum import StrEnum


class Weights(StrEnum):
    """Says where the frozen base's weights come from."""

    PRETRAINED = "pretrained"
    RANDOM = "random"


class Labels(StrEnum):
    """Names the label scheme."""

    SINGLE = "single"
    TWO = "two"
    JOINT = "joint"
    LEVELS = "levels"
    """As joint, with the MDC and whether the DRG is medical or surgical."""


class Head(StrEnum):
    """Says where the head's rows start."""

    RANDOM = "random"
    TITLES = "titles"
    """From the base's own reading of the words of each label."""


class Pooling(StrEnum):
    """Says which hidden states of a note the head reads."""

    LAST = "last"
    """The last token's; of a BERT what it has pooled of its first token."""
    MEAN = "mean"
    """The mean over all tokens."""


class Loss(StrEnum):
    """Names the loss of each softmax; a Greek letter is its `loss_strength`."""

    CROSS_ENTROPY = "cross_entropy"
    LOGIT_ADJUSTED = "logit_adjusted"
    """Adds tau log p(class) to the logits in training (Menon et al. 2021)."""
    BALANCED_SOFTMAX = "balanced_softmax"
    """Weighs each class's exponential by its training count (Ren et al. 2020): logit_adjusted with tau 1."""
    CLASS_WEIGHTED = "class_weighted"
    """Weighs notes by the inverse of their class's share, to the power of tau."""
    FOCAL = "focal"
    """Weighs notes by (1 - p)^gamma (Lin et al. 2017)."""
    LABEL_SMOOTHING = "label_smoothing"
    """Spreads epsilon of the target evenly (Szegedy et al. 2016)."""

    @property
    def strength(self) -> float | None:
        """Is the `loss_strength` that null stands for; None for a loss without one."""
        return STRENGTHS.get(self)


STRENGTHS = {
    Loss.LOGIT_ADJUSTED: 1.0,
    Loss.CLASS_WEIGHTED: 0.5,
    Loss.FOCAL: 2.0,
    Loss.LABEL_SMOOTHING: 0.1,
}
"""Each loss's strength as its paper has it; of class weights the root, for a full inverse lets one note of a rare class
outweigh thousands (Mahajan et al. 2018; Cui et al. 2019)."""


class Schedule(StrEnum):
    """Names the course of the learning rate after the warm-up."""

    LINEAR = "linear"
    COSINE = "cosine"
    CONSTANT = "constant"


class Objective(StrEnum):
    """Says what pretraining predicts."""

    NEXT = "next"
    """The next word, by a LLaMA."""
    MASKED = "masked"
    """Masked words, by a BERT."""


class Prompt(StrEnum):
    """Names the text that surrounds a note."""

    NONE = "none"
    DIAGNOSIS = "diagnosis"


class Precision(StrEnum):
    """Names the number format of the frozen base; adapters and head are always fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    """For cards without bf16; the loss is scaled."""
    INT8 = "int8"
    NF4 = "nf4"

    @property
    def is_quantised(self) -> bool:
        """Says whether weights are held in fewer bits than they are multiplied in."""
        return self in (Precision.INT8, Precision.NF4)


class Together(StrEnum):
    """Says how several runs share a copy of the frozen base."""

    NO = "no"
    """One after the other, each with a base of its own."""
    AUTO = "auto"
    """In one pass over the base where that is measured to be faster and fits; else in turn over one base."""
    YES = "yes"
    """In one pass over the base."""


class WandbMode(StrEnum):
    """Says where W&B records go."""

    AUTO = "auto"
    """Online when somebody is logged in, else offline."""
    ONLINE = "online"
    OFFLINE = "offline"
    """Into the run's folder, without a connection."""
    DISABLED = "disabled"


class Kind(StrEnum):
    """Names the kind of model that is trained."""

    LLAMA = "llama"
    BERT = "bert"
    CAML = "caml"
    MAJORITY = "majority"
    TFIDF = "tfidf"
    TFIDF_CUT = "tfidf_cut"
    STRUCTURED = "structured"
    CODED = "coded"
    FUSION = "fusion"

    @property
    def reads_facts(self) -> bool:
        """Says whether it reads the facts of the admission."""
        return self in (Kind.STRUCTURED, Kind.CODED, Kind.FUSION)

    @property
    def scores_drgs_only(self) -> bool:
        """Says whether it has no heads that a label scheme could give a meaning."""
        return self.reads_facts or self in (Kind.MAJORITY, Kind.TFIDF, Kind.TFIDF_CUT)


class Method(StrEnum):
    """Names what says how much of a prediction rests on each sentence."""

    OCCLUSION = "occlusion"
    """The note is scored without the sentence."""
    GRADIENT_ATTENTION = "gradient_attention"
    """Word vector times gradient, times the attention of the token that the head reads."""
    ATTINGRAD = "attingrad"
    """Word vector times gradient, times the attention of the DRG (Edin et al. 2024)."""
    INTEGRATED_GRADIENTS = "integrated_gradients"
    """Gradients on the way from blanks to the words (Sundararajan et al. 2017)."""
    LINEAR = "linear"
    """Each word's weight times its TF-IDF."""
