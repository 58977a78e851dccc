"""AdamW, as every run is trained with it."""

from collections.abc import Sequence

from torch import Tensor
from torch.optim import AdamW


def adamw(weights: Sequence[Tensor], lr: float, weight_decay: float) -> AdamW:
    """Makes AdamW; on CUDA as one kernel over all weights, which asks the host for nothing."""
    return AdamW(weights, lr=lr, weight_decay=weight_decay, fused=weights[0].is_cuda)
