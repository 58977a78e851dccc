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


class Prompt(StrEnum):
    """Names the text that surrounds a note."""

    NONE = "none"
    DIAGNOSIS = "diagnosis"


class Precision(StrEnum):
    """Names the number format of the frozen base; adapters and head are always fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
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
        return self.reads_facts or self in (Kind.MAJORITY, Kind.TFIDF)
