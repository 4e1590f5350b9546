"""A part of a BindsNET network, live or saved, with checks of the type of each attribute."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet.numpy_values import plain
from deploy_snn.importers.bindsnet.saved import Name, Saved, name_of


@dataclass(frozen=True)
class ForeignPart:
    """A layer, a connection or a feature, with its label for messages, such as ``layer 'Y'``."""

    label: str
    thing: Any

    @property
    def kind(self) -> Name:
        return name_of(self.thing)

    def refuse(self, why: str) -> InvalidInput:
        """Return the error to raise: the part's label, its class, and why it cannot be imported."""
        return InvalidInput(f"{self.label} ({self.kind.name}): {why}")

    def get(self, name: str, default: Any = ...) -> Any:
        """An attribute. Raises InvalidInput if it is missing, unless a default is given."""
        try:
            return plain(getattr(self.thing, name))
        except AttributeError:
            if default is ...:
                raise self.refuse(f"it has no {name}") from None
            return default

    def dense(self, name: str) -> Tensor:
        """A tensor in dense form. Raises InvalidInput for a sparse tensor that is too large for its file."""
        if isinstance(self.thing, Saved):
            return self.thing.dense(name)
        found: Tensor = self.get(name)
        return found.detach().to_dense()

    def numbers(self, name: str) -> Tensor:
        """A number or a tensor as float32, dense.

        Raises InvalidInput for anything else, and for numbers that float32 cannot represent.
        """
        value = self.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
            raise self.refuse(f"its {name} is not a number")
        if isinstance(value, Tensor) and value.layout != torch.strided:
            value = self.dense(name)
        given = torch.as_tensor(value).detach().cpu()
        tensor = given.to(torch.float32)
        # torch rounds a Python number to a float32 operand, but a float64 tensor makes the result float64.
        if given.dim() and given.is_floating_point() and not torch.equal(tensor.to(given.dtype), given):
            raise self.refuse(f"its {name} is {given.dtype}, with numbers that float32 does not have")
        if tensor.isnan().any():
            raise self.refuse(f"its {name} holds NaN")
        return tensor.clone(memory_format=torch.contiguous_format)

    def weights(self, name: str) -> Tensor:
        """Weights, dense. Raises InvalidInput unless they are float32: sums in another type would round differently."""
        value = self.get(name)
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            found = f"{value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise self.refuse(f"its {name} is {found}, and sums of it round otherwise than those of float32")
        return self.numbers(name)

    def sparse_weights(self, name: str) -> Tensor:
        """Weights like ``weights``, but a sparse tensor stays sparse."""
        value = self.get(name)
        if not isinstance(value, Tensor) or value.dtype != torch.float32 or value.layout == torch.strided:
            return self.weights(name)
        found: Tensor = torch.Tensor.to_sparse_coo(value.detach().cpu()).coalesce()  # type: ignore[no-untyped-call]
        if found.values().isnan().any():
            raise self.refuse(f"its {name} holds NaN")
        return found

    def number(self, name: str) -> float:
        """One number."""
        tensor = self.numbers(name)
        if tensor.numel() != 1:
            raise self.refuse(f"its {name} is {list(tensor.shape)}, expected one number")
        value = self.get(name)
        return float(value) if isinstance(value, (int, float)) else float(tensor)

    def sizes(self, name: str) -> int | list[int]:
        """A whole number, or one for each axis."""
        value = self.get(name)
        found = [plain(size) for size in value] if isinstance(value, (list, tuple)) else value
        if not all(type(size) is int for size in (found if isinstance(found, list) else [found])):
            raise self.refuse(f"its {name} is not whole numbers")
        return found

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise self.refuse(f"its {name} is neither true nor false")
        return value
