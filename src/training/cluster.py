"""Finds out who starts the processes of a run, and which of them this one is."""

from pytorch_lightning.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from src.config.train import TrainConfig


def cluster(cfg: TrainConfig) -> ClusterEnvironment:
    """Returns who starts the processes: Slurm or torchrun where they do, else Lightning.

    Lightning's own requeue under Slurm, which leaves checkpoints that a later run would start from, stays off.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if cfg.devices * cfg.nodes > 1 and SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()
