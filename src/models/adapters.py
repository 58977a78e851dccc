"""Holds the adapters of one cell on every layer of a base: one tensor, of which each weight is a view.

So they are cast to the format of activations at once, and their gradient is one tensor too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from src.models.engine.projections import Adapters, Gradient, Up


@dataclass(frozen=True)
class _Site:
    """Holds the adapted maps of one input: their columns of the output, their A and their B."""

    layer: int
    number: int
    maps: Sequence[tuple[slice, Tensor, Tensor]]
    scaling: float

    @property
    def weights(self) -> list[Tensor]:
        """Lists each map's A, then each map's B."""
        return [down for _, down, _ in self.maps] + [up for *_, up in self.maps]

    def runs(self, merges: bool) -> list[list[tuple[slice, Tensor, Tensor]]]:
        """Groups the maps whose B can be one product: of one shape and side by side."""
        runs: list[list[tuple[slice, Tensor, Tensor]]] = []
        for columns, down, up in self.maps:
            before = runs[-1][-1] if runs and merges else None
            if before and before[0].stop == columns.start and before[2].shape == up.shape:
                runs[-1].append((columns, down, up))
            else:
                runs.append([(columns, down, up)])
        return runs


class AdapterTable:
    """Says where a cell's adapters are: of each layer, of each site.

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
        self.slots = list(accumulate((weight.numel() for weight in self.weights), initial=0))
        self._flat = torch.empty(0)
        self._leaf: Tensor | None = None
        self._pointers: list[int] = []
        self._cast: dict[torch.dtype, tuple[Tensor, list[list[Adapters | None]]]] = {}

    def cast(self, dtype: torch.dtype) -> list[list[Adapters | None]]:
        """Casts the adapters to `dtype`: views of one tensor, which the next call writes anew."""
        if not self.weights:
            return [[None] * sites for sites in self.shape]
        with torch.inference_mode(False), torch.no_grad():  # training may go on with what a test made
            self._keep_flat()
            if dtype not in self._cast:
                packed = self._flat if dtype == self._flat.dtype else torch.empty_like(self._flat, dtype=dtype)
                self._cast[dtype] = packed, self._views(packed)
            packed, table = self._cast[dtype]
            if packed is not self._flat:
                packed.copy_(self._flat)
        return table

    def as_one(self) -> Tensor:
        """Returns one tensor that holds all weights; gradients are its own from now on, no longer the weights'."""
        with torch.no_grad():
            self._keep_flat()
            if self._leaf is None:
                self._leaf = self._flat.detach().requires_grad_()
        return self._leaf

    def parts(self, whole: Tensor) -> list[Tensor]:
        """Splits a tensor as `as_one` gives into what belongs to each of `weights`, in its shape."""
        sizes = [weight.numel() for weight in self.weights]
        return [part.view(weight.shape) for part, weight in zip(whole.split(sizes), self.weights, strict=True)]

    def gradient(self) -> tuple[Gradient, Tensor]:
        """Returns where a pass writes the adapters' gradient, and what its functions read so that weights get it."""
        gradient = Gradient(self.slots[-1], self.weights[0].device, self.weights[0].dtype)
        leaves = self.weights if self._leaf is None else [self._leaf]
        return gradient, _Handle.apply(gradient, *leaves)

    def _keep_flat(self) -> None:
        """Moves all weights into one tensor; again where they were moved or converted since."""
        # Moving or converting a model gives its weights memory of their own again; addresses tell so.
        pointers = [weight.data_ptr() for weight in self.weights]
        if pointers == self._pointers and self.weights[0].dtype == self._flat.dtype:
            return
        self._flat = torch.cat([weight.detach().reshape(-1) for weight in self.weights])
        for weight, part in zip(self.weights, self.parts(self._flat), strict=True):
            weight.data = part
        if self._leaf is not None:
            self._leaf.data = self._flat
        self._pointers = [weight.data_ptr() for weight in self.weights]
        self._cast = {}

    def _views(self, packed: Tensor) -> list[list[Adapters | None]]:
        table: list[list[Adapters | None]] = [[None] * sites for sites in self.shape]
        slots = iter(self.slots)
        for site in self.sites:
            first, *_ = [next(slots) for _ in site.maps]
            ranks = sum(down.shape[0] for _, down, _ in site.maps)
            width = site.maps[0][1].shape[1]
            ups, rank = [], 0
            for run in site.runs(merges(packed.device)):
                slot, *_ = [next(slots) for _ in run]
                outputs, own = run[0][2].shape
                weight = packed[slot : slot + len(run) * outputs * own].view(len(run), outputs, own)
                columns = slice(run[0][0].start, run[-1][0].stop)
                ups.append(Up(columns, slice(rank, rank + len(run) * own), weight, slot))
                rank += len(run) * own
            down = packed[first : first + ranks * width].view(ranks, width)
            table[site.layer][site.number] = Adapters(down, tuple(ups), first, site.scaling)
        return table


class _Handle(torch.autograd.Function):
    """Makes a tensor that blocks read in the place of the weights, which get their gradients once all are written."""

    @staticmethod
    def forward(ctx: Any, gradient: Gradient, *leaves: Tensor) -> Tensor:
        ctx.gradient, ctx.shapes = gradient, [leaf.shape for leaf in leaves]
        ctx.set_materialize_grads(False)  # blocks give None; the gradient is in `Gradient` by then
        return leaves[0].new_empty(())

    @staticmethod
    def backward(ctx: Any, nothing: None) -> Any:
        whole, ctx.gradient.whole = ctx.gradient.whole, None
        if whole is None:
            return (None, *[None] * len(ctx.shapes))
        parts = whole.split([shape.numel() for shape in ctx.shapes])
        return (None, *[part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True)])


def merges(device: torch.device) -> bool:
    """Says whether several small products are taken as one: where starting one takes longer than computing it."""
    return device.type != "cpu"


def _site(layer_number: int, number: int, layer: Any, maps: Any, name: str) -> _Site:
    adapted, scaling = [], 0.0
    around = {wrapped.base_layer: wrapped for wrapped in layer.modules() if hasattr(wrapped, "lora_A")}
    for base, columns in zip(maps.layers, maps.columns, strict=True):
        wrapped = around.get(base)
        if wrapped is not None and name in wrapped.lora_A:
            adapted.append((columns, wrapped.lora_A[name].weight, wrapped.lora_B[name].weight))
            scaling = float(wrapped.scaling[name])
    return _Site(layer_number, number, adapted, scaling)
