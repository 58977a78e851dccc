"""Lists every system by the kind that a configuration names: the one table that knows them all."""

from src.baselines.boosted import Boosted, BoostedWithCodes
from src.baselines.linear import CutLinear, Fusion, Linear, Majority
from src.baselines.tuned import Bert, Caml
from src.cli.errors import UserError
from src.config.choices import Kind
from src.config.train import TrainConfig
from src.training.llama import Llama
from src.training.predictor import Predictor
from src.training.run_data import RunData

PREDICTORS: dict[Kind, type[Predictor]] = {
    Kind.LLAMA: Llama,
    Kind.BERT: Bert,
    Kind.CAML: Caml,
    Kind.MAJORITY: Majority,
    Kind.TFIDF: Linear,
    Kind.TFIDF_CUT: CutLinear,
    Kind.FUSION: Fusion,
    Kind.STRUCTURED: Boosted,
    Kind.CODED: BoostedWithCodes,
}


def predictor_class(cfg: TrainConfig) -> type[Predictor]:
    """Returns the class of the system that a configuration names.

    Raises:
        UserError: the table lacks it.
    """
    if (kind := cfg.model.kind) not in PREDICTORS:
        raise UserError(f"model.kind={kind}: no class trains it; add it to src/baselines/systems.py::PREDICTORS")
    return PREDICTORS[kind]


def build_predictor(data: RunData) -> Predictor:
    """Returns the system that a configuration names, untrained, on its data.

    Raises:
        UserError: what it needs cannot be had.
    """
    return predictor_class(data.cfg)(data)
