"""Sparse linear forms: values that are sums of weighted elements of one array, with weights known at export.

A sparse connection is captured as a gather, a product and a sum. As a linear form it becomes a sparse matrix, which is then
applied from its sources: the work is in proportion to the spikes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deploy_snn.compiled.loops import View


@dataclass(frozen=True, eq=False)
class LinearForm:
    """Element ``e`` is ``sum_k weights[e, k] * source[sources[e, k]]``; ``weights`` is None for a plain selection."""

    source: View
    shape: tuple[int, ...]
    sources: Tensor
    weights: Tensor | None = None

    @property
    def is_selection(self) -> bool:
        """Whether each element is one element of the source."""
        return self.weights is None and self.sources.shape[1] == 1

    def weighted(self, weights: Tensor) -> "LinearForm":
        """Each element times its own weight. Only for a selection."""
        return LinearForm(self.source, self.shape, self.sources, weights.expand(self.shape).reshape(-1, 1))

    def rearranged(self, operation: Callable[[Tensor], Tensor]) -> "LinearForm":
        """The same elements in other places: ``operation`` reshapes, permutes or selects."""
        places = operation(torch.arange(len(self.sources)).reshape(self.shape))
        rows = places.flatten()
        return LinearForm(
            self.source, tuple(places.shape), self.sources[rows], None if self.weights is None else self.weights[rows]
        )

    def summed(self, axis: int, shape: Sequence[int]) -> "LinearForm":
        """The sum over one axis."""
        weights = torch.ones(self.sources.shape) if self.weights is None else self.weights
        terms = [t.reshape(*self.shape, -1).movedim(axis, -2) for t in (self.sources, weights)]
        sources, weights = (t.flatten(-2).reshape(-1, self.shape[axis] * self.sources.shape[1]) for t in terms)
        return LinearForm(self.source, tuple(shape), sources, weights)

    def joined(self, others: "Sequence[LinearForm]", axis: int, shape: Sequence[int]) -> "LinearForm":
        """This form and others of the same source, one after the other along an axis."""
        forms = [self, *others]
        width = max(form.sources.shape[1] for form in forms)

        def padded(form: "LinearForm", t: Tensor) -> Tensor:
            return torch.nn.functional.pad(t, (0, width - t.shape[1])).reshape(*form.shape, width)

        sources = torch.cat([padded(form, form.sources) for form in forms], axis)
        weights = torch.cat(
            [padded(f, torch.ones(f.sources.shape) if f.weights is None else f.weights) for f in forms], axis
        )
        return LinearForm(self.source, tuple(shape), sources.reshape(-1, width), weights.reshape(-1, width))

    def by_source(self) -> tuple[Tensor, Tensor, Tensor]:
        """The matrix from its sources: ``first`` ``[N + 1]``, ``targets`` ``[nnz]`` and ``weights`` ``[nnz]``."""
        weights = torch.ones(self.sources.shape) if self.weights is None else self.weights
        targets = torch.arange(len(self.sources))[:, None].expand(self.sources.shape)
        kept = weights.flatten() != 0
        source, target, weight = self.sources.flatten()[kept], targets.flatten()[kept], weights.flatten()[kept]
        order = source.argsort(stable=True)
        counts = torch.bincount(source, minlength=self.source.size)
        return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]), target[order], weight[order]
