"""numpy's scalars and arrays in a pickle, as numbers and tensors: numpy's own constructors are not called."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from deploy_snn.importers.bindsnet.saved import Lazy, Name, Record

KINDS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}


class NumpyType(Record):
    """A dtype of numbers."""

    def __init__(self, kind: Any, *_: Any) -> None:
        if kind not in KINDS:
            raise TypeError
        self.dtype = np.dtype(kind)

    def set_state(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(">" if state[1] == ">" else "<")


class NumpyArray(Record, Lazy):
    """An array: a number if it has no axes, else a tensor."""

    def __init__(self, *_: Any) -> None:
        self._array = np.zeros(())

    def set_state(self, state: Any) -> None:
        _, shape, kind, is_fortran, data = state
        if not isinstance(kind, NumpyType) or not isinstance(data, bytes) or not all(type(n) is int for n in shape):
            raise TypeError
        if math.prod(shape) * kind.dtype.itemsize != len(data) or min(shape, default=0) < 0:
            raise ValueError
        self._array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if is_fortran else "C")

    @property
    def value(self) -> Any:
        native = self._array.astype(self._array.dtype.newbyteorder("="))
        return native.item() if not native.ndim else torch.from_numpy(native)


def plain(value: Any) -> Any:
    """A numpy scalar or an array without axes as a Python number; anything else as it is."""
    return value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value


def _scalar(kind: Any, data: Any) -> Any:
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes) or len(data) != kind.dtype.itemsize:
        raise TypeError
    return np.frombuffer(data, kind.dtype)[0].item()


def _encode(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", None):
        raise TypeError
    return text.encode("latin1" if encoding else "utf-8")


def _no_array(*_: Any) -> Any:
    raise TypeError


NUMPY: Mapping[Name, Callable[..., Any]] = {
    Name("_codecs", "encode"): _encode,  # how pickles of protocol 2 write bytes
    Name("numpy", "dtype"): NumpyType,
    Name("numpy", "ndarray"): _no_array,
    **{Name(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{Name(f"numpy.{core}.multiarray", "_reconstruct"): NumpyArray for core in ("core", "_core")},
}
