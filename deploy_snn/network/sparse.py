"""Sparse connections, stored as a list of sources for each target neuron. A dense matrix is never built."""

import math
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.learning.synapses import ListedSynapses, Synapses
from deploy_snn.network.connection import Exactness, PlasticConnection, weights


class Gathered(PlasticConnection):
    """Each target neuron sums over its list of sources: ``drive[j] = sum_k z[sources[j, k]] * fan_in[j, k]``.

    If the lists have similar lengths, ``sources`` and ``fan_in`` are ``[M, K]``. If their lengths differ much, the targets
    are sorted into groups of similar length. Then ``sources`` and ``fan_in`` are flat, group after group, and ``places``
    ``[M]`` is the row of each target in that order.
    """

    EXACT: ClassVar[Exactness] = "sums"
    AXES: ClassVar[tuple[str, ...]] = ("target", "synapse")

    sources: Tensor
    fan_in: Tensor
    places: Tensor | None
    groups: list[list[int]]

    def wire(
        self, sources: Tensor, fan_in: Tensor, groups: list[list[int]] | None = None, places: Tensor | None = None
    ) -> None:
        """Set the lists. Sources are flat indices. A group is ``[targets, list length]``; by default there is one group."""
        self.register_buffer("sources", sources)
        self.register_buffer("fan_in", fan_in)
        self.register_buffer("places", places)
        self.groups = [list(fan_in.shape)] if groups is None else groups

    def synapses(self) -> Synapses:
        return ListedSynapses(self.sources)

    def initial_weights(self) -> Tensor:
        return self.fan_in

    def transmit_through(self, z: Tensor, w: Tensor) -> Tensor:
        terms = self.flat(z).index_select(1, self.sources.flatten())
        places = self.places
        if places is None:
            return self.shaped((terms.reshape([-1] + list(w.shape)) * w).sum(2))
        terms = terms * w
        sums: list[Tensor] = []
        start = 0
        for group in self.groups:
            size = group[0] * group[1]
            sums.append(terms.narrow(1, start, size).reshape([-1] + group).sum(2))
            start += size
        return self.shaped(torch.cat(sums, 1).index_select(1, places))

    def summed_weights(self) -> list[Tensor]:
        return [self.fan_in]

    def largest_sums(self) -> Tensor | None:
        sizes = self.fan_in.double().abs().flatten()
        parts = sizes.split_with_sizes([targets * length for targets, length in self.groups])
        sums = [part.reshape(group).sum(1) for part, group in zip(parts, self.groups, strict=True)]
        return sums[0] if self.places is None else torch.cat(sums)[self.places]


class Sparse(Gathered):
    """A sparse weight matrix: ``drive = z @ w``.

    Args:
        w: weights ``[N, M]``, source by target, in mV: a sparse COO or CSR tensor, or a dense one.
    """

    EXACT: ClassVar[Exactness] = "sums"

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        if not isinstance(w, Tensor) or w.dim() != 2:
            actual = list(w.shape) if isinstance(w, Tensor) else type(w).__name__
            raise InvalidInput(f"w is {actual}, expected a tensor [N, M], sparse or dense")
        coo = torch.Tensor.to_sparse_coo(w.detach()).coalesce()  # type: ignore[no-untyped-call]
        self.size = list(coo.shape)
        values = weights("w", coo.values())
        nonzero = values != 0
        self.wire(*_lists(coo.indices()[:, nonzero], values[nonzero], self.size[1]))

    @classmethod
    def from_structure(cls, options: dict[str, Any], buffers: dict[str, Tensor]) -> Self:
        connection = cls(
            torch.sparse_coo_tensor(
                torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0), options["size"], check_invariants=True
            )
        )
        connection.wire(buffers["sources"], buffers["fan_in"], options["groups"], buffers.get("places"))
        return connection

    def structure_options(self) -> dict[str, Any]:
        return {"size": self.size, "groups": self.groups}

    def matrix(self) -> Tensor:
        """The weights ``[N, M]`` as a sparse COO tensor."""
        rows = torch.cat([torch.arange(start, start + n).repeat_interleave(k) for start, n, k in self._rows()])
        targets = rows if self.places is None else self.places.argsort()[rows]
        nonzero = self.fan_in.flatten() != 0
        indices = torch.stack([self.sources.flatten()[nonzero], targets[nonzero]])
        return torch.sparse_coo_tensor(indices, self.fan_in.flatten()[nonzero], self.size, check_invariants=True).coalesce()

    def _rows(self) -> list[tuple[int, int, int]]:
        """For each group: its first row, its number of rows, and the length of the rows."""
        found, start = [], 0
        for targets, length in self.groups:
            found.append((start, targets, length))
            start += targets
        return found

    def shape_error(self) -> str:
        expected = [math.prod(self.source_shape), math.prod(self.target_shape)]
        return "" if self.size == expected else f"w is {self.size}, expected {expected}"


def _lists(indices: Tensor, values: Tensor, targets: int) -> tuple[Tensor, Tensor, list[list[int]], Tensor | None]:
    """Convert COO weights at ``indices`` ``[2, nnz]`` to lists of sources.

    They form one group, unless padding to one length would more than double the number of weights.
    """
    order = indices[1].argsort(stable=True)  # keeps the sources of a target in ascending order
    source, target, value = indices[0][order], indices[1][order], values[order]
    counts = torch.bincount(target, minlength=targets)
    longest = max(1, int(counts.max())) if targets else 1
    one_group = longest * targets <= 2 * (len(values) + targets)
    # Lists are padded with weights of 0, to one length or to the next power of 2.
    power = torch.exp2(counts.clamp(min=1).double().log2().ceil()).long()
    lengths = torch.full_like(counts, longest) if one_group else power.clamp(max=longest)
    rows = lengths.argsort(stable=True)
    places = rows.argsort()
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), lengths[rows].cumsum(0)])
    within = torch.arange(len(target)) - (counts.cumsum(0) - counts)[target]
    flat = starts[places[target]] + within
    sources = torch.zeros(int(starts[-1]), dtype=torch.int64).index_put((flat,), source)
    fan_in = torch.zeros(int(starts[-1]), dtype=torch.float32).index_put((flat,), value)
    groups = [[int((lengths == length).sum()), int(length)] for length in torch.unique(lengths)]
    if one_group:
        return sources.reshape(targets, longest), fan_in.reshape(targets, longest), [[targets, longest]], None
    return sources, fan_in, groups, places
