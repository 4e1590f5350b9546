"""The most compact connection for a weight matrix, among those that compute the same bits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deploy_snn.network import Connection, Dense, Lateral, OneToOne, Sparse
from deploy_snn.network.grid import is_exact


def connection_of(w: Tensor, b: Tensor | None, source: Sequence[int], target: Sequence[int]) -> Connection:
    """``z @ w + b`` for layers of these shapes: one to one, lateral, or dense.

    A product with a diagonal matrix is exact. Lateral inhibition multiplies where the matrix adds, so it replaces the
    matrix only if that sum is exact.
    """
    bias = b if b is not None and b.any() else None
    if bias is None and list(source) == list(target) and list(w.shape) == [len(w)] * 2:
        diagonal = w.diagonal()
        if torch.equal(torch.diag(diagonal), w):
            same = bool((diagonal == diagonal[0]).all())
            return OneToOne(diagonal[0] if same else diagonal.reshape(list(target)))
        others = w[~torch.eye(len(w), dtype=torch.bool)]
        if not diagonal.any() and (others == others[0]).all() and is_exact(Dense(w)):
            return Lateral(float(others[0]))
    return Dense(w, bias)


def sparse_of(w: Tensor, b: Tensor | None) -> Connection:
    """``z @ w + b`` where few weights are not 0; ``w`` may be a sparse tensor, which only a bias makes dense."""
    return Sparse(w) if b is None or not b.any() else Dense(w.to_dense(), b)
