"""The door to a W&B server on this machine, and to a run as it holds it; nothing else of `src` is imported here."""

from src.testing.wandb_here import WandbHere
from src.testing.wandb_sent import SentRun

__all__ = ["SentRun", "WandbHere"]
