"""The adapters of one cell on every layer of a base, cast to the format of activations all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from src.models.projections import Adapters, Up


@dataclass(frozen=True)
class _Site:
    """The adapted maps of one input: their columns of the output, their A and their B."""

    layer: int
    number: int
    maps: Sequence[tuple[slice, Tensor, Tensor]]
    scaling: float

    @property
    def ranks(self) -> int:
        """Ranks of all maps together."""
        return sum(len(down) for _, down, _ in self.maps)

    @property
    def weights(self) -> list[Tensor]:
        """Each map's A, then each map's B."""
        return [down for _, down, _ in self.maps] + [up for *_, up in self.maps]

    @property
    def sizes(self) -> list[int]:
        """Weights of all A together, then of each B."""
        return [sum(down.numel() for _, down, _ in self.maps), *(up.numel() for *_, up in self.maps)]


class AdapterTable:
    """Where a cell's adapters are: of each layer, of each site.

    Args:
        layers: decoder layers with peft's adapters around their maps.
        name: of the cell's adapters.
    """

    def __init__(self, layers: Sequence[Any], name: str) -> None:
        self.shape = [len(layer.block.maps) for layer in layers]
        sites = [
            _site(layer_number, number, layer, maps, name)
            for layer_number, layer in enumerate(layers)
            for number, maps in enumerate(layer.block.maps)
        ]
        self.sites = [site for site in sites if site.maps]
        self.weights = [weight for site in self.sites for weight in site.weights]
        self.sizes = [size for site in self.sites for size in site.sizes]

    def cast(self, dtype: torch.dtype, gain: float) -> list[list[Adapters | None]]:
        """The adapters in `dtype`, with `gain` as a further factor: two or three kernels, and views of their result."""
        table: list[list[Adapters | None]] = [[None] * sites for sites in self.shape]
        if not self.sites:
            return table
        flat = torch.cat([weight.detach().view(-1) for weight in self.weights]).to(dtype)
        pieces = iter(flat.split(self.sizes))
        for site in self.sites:
            down = next(pieces).view(site.ranks, -1)
            ups, rank = [], 0
            for columns, a, b in site.maps:
                ups.append(Up(columns, slice(rank, rank + len(a)), next(pieces).view(b.shape), (a, b)))
                rank += len(a)
            table[site.layer][site.number] = Adapters(down, tuple(ups), site.scaling * gain)
        return table


def _site(layer_number: int, number: int, layer: Any, maps: Any, name: str) -> _Site:
    adapted, scaling = [], 0.0
    around = {wrapped.base_layer: wrapped for wrapped in layer.modules() if hasattr(wrapped, "lora_A")}
    for base, columns in zip(maps.layers, maps.columns, strict=True):
        wrapped = around.get(base)
        if wrapped is not None and name in wrapped.lora_A:
            adapted.append((columns, wrapped.lora_A[name].weight, wrapped.lora_B[name].weight))
            scaling = float(wrapped.scaling[name])
    return _Site(layer_number, number, adapted, scaling)
