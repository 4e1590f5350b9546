"""Tensor files store arrays of any memory layout, and torch and numpy read the same values from them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.testing import assert_array_equal
from safetensors.torch import load_file

from deploy_snn.errors import InvalidInput
from deploy_snn.tensors import read_tensors, write_tensors

ARRAY = arrays.arrays(
    st.sampled_from([np.dtype("float32"), np.dtype("bool"), np.dtype("int64")]),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"), ARRAY, max_size=4))
def test_round_trip(tensors: dict[str, np.ndarray]) -> None:
    with TemporaryDirectory() as folder:
        plain, fortran_order = Path(folder) / "plain", Path(folder) / "turned"
        write_tensors(plain, tensors)
        # The memory layout of an array does not change the file.
        write_tensors(fortran_order, {name: np.asarray(array, order="F") for name, array in reversed(tensors.items())})
        assert plain.read_bytes() == fortran_order.read_bytes()
        read, in_torch = read_tensors(plain), load_file(plain)
        assert read.keys() == tensors.keys()
        for name, array in tensors.items():
            assert read[name].dtype == array.dtype
            assert read[name].shape == array.shape
            assert_array_equal(read[name], array)
            assert_array_equal(in_torch[name].numpy(), array)


def test_invalid_files(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    write_tensors(whole, {"x": np.arange(6, dtype=np.float32)})
    data = whole.read_bytes()
    for bad in (b"", data[:7], data[:30], data[:-1], data + b"\0", b"\xff" * 8 + data[8:], b"{}" * 20):
        whole.write_bytes(bad)
        with pytest.raises(InvalidInput, match=r"cannot be read as \.safetensors"):
            read_tensors(whole)
    with pytest.raises(InvalidInput, match="does not exist"):
        read_tensors(tmp_path / "none")
    with pytest.raises(InvalidInput, match="is not a file"):
        read_tensors(tmp_path)
