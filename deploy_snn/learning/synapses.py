"""The synapses of a connection, as a learning rule sees them: which source meets which target at each weight.

A rule is written once, over products of a source factor and a target factor. Each kind of connection says here which
elements of the two meet at each of its weights.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Synapses(nn.Module, ABC):
    """Products of a source factor ``[B, *source]`` and a target factor ``[B, *target]`` at each weight."""

    @abstractmethod
    def products(self, source: Tensor, target: Tensor) -> Tensor:
        """The product at each weight, row by row: ``[B, *w]``."""

    def summed(self, source: Tensor, target: Tensor) -> Tensor:
        """The products at each weight, summed over the batch: ``[*w]``."""
        return self.products(source, target).sum(0)

    def add(self, w: Tensor, source: Tensor, target: Tensor, rate: Tensor, sign: float) -> None:
        """Add ``sign * rate`` times the summed products to ``w``, in place. The rate multiplies the sum."""
        w.add_(self.summed(source, target) * rate, alpha=sign)


class DenseSynapses(Synapses):
    """Weights ``[N, M]``: each source meets each target."""

    def products(self, source: Tensor, target: Tensor) -> Tensor:
        return source.flatten(1).unsqueeze(2) * target.flatten(1).unsqueeze(1)

    def summed(self, source: Tensor, target: Tensor) -> Tensor:
        return source.flatten(1).t() @ target.flatten(1)

    def add(self, w: Tensor, source: Tensor, target: Tensor, rate: Tensor, sign: float) -> None:
        # The rate multiplies the target factor, so that product and sum are one Gemm, which touches the matrix only once.
        w.addmm_(source.flatten(1).t(), target.flatten(1) * rate, alpha=sign)


class ListedSynapses(Synapses):
    """Weights ``[M, K]``: target ``j`` meets the sources ``sources[j]``, as flat indices."""

    sources: Tensor

    def __init__(self, sources: Tensor) -> None:
        super().__init__()
        self.size = list(sources.shape)
        self.register_buffer(
            "sources", sources.flatten().clone(), persistent=False
        )  # a Scan refuses two views of one buffer

    def products(self, source: Tensor, target: Tensor) -> Tensor:
        met = source.flatten(1).index_select(1, self.sources).reshape([-1] + self.size)
        return met * target.flatten(1).unsqueeze(2)


class ConvolutionSynapses(Synapses):
    """Filters ``[C_out, C_in, *kernel]``: a weight meets a source and a target at each position of the filter."""

    fields: Tensor

    def __init__(
        self,
        w: Sequence[int],
        source: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        super().__init__()
        self.size = list(w)
        self.padding = [n for n in reversed(padding) for _ in range(2)]  # functional.pad starts with the last axis
        padded = [size + 2 * n for size, n in zip(source[1:], padding, strict=True)]
        fields = torch.arange(source[0]).reshape(-1, *[1] * (2 * len(padded))) * math.prod(padded)
        for axis, (size, kernel, step, gap) in enumerate(zip(padded, w[2:], stride, dilation, strict=True)):
            positions = (size - gap * (kernel - 1) - 1) // step + 1
            index = torch.arange(kernel)[:, None] * gap + torch.arange(positions) * step
            shape = [1] * fields.dim()
            shape[1 + axis], shape[1 + len(padded) + axis] = kernel, positions
            fields = fields + index.reshape(shape) * math.prod(padded[axis + 1 :])
        self.inputs = math.prod(w[1:])
        self.register_buffer("fields", fields.flatten(), persistent=False)

    def products(self, source: Tensor, target: Tensor) -> Tensor:
        padded = functional.pad(source, self.padding).flatten(1)
        fields = padded.index_select(1, self.fields).reshape([source.shape[0], self.inputs, -1])
        return torch.matmul(target.flatten(2), fields.transpose(1, 2)).reshape([-1] + self.size)
