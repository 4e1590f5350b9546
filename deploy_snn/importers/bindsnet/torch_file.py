"""Files that ``torch.save`` wrote, zip archives and the older kind, read without unpickling them.

A tensor is read at its first use, and only if its description fits the bytes in the file.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.bindsnet.numpy_values import NUMPY
from deploy_snn.importers.bindsnet.restricted_pickle import Maker, read_pickle
from deploy_snn.importers.bindsnet.saved import Name, Saved, SavedTensor

LARGEST_PICKLE = 1 << 26
"""The largest pickle, in bytes. Tensors are stored outside of it, so the pickle of a network takes a few kB."""

EXPANDED = 1 << 20
"""How many more elements than its file a tensor may have. A tensor of stride 0 repeats one number."""

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
LEGACY_HEAD = pickle.dumps(LEGACY_MAGIC, protocol=2)
ENTRIES = ("data.pkl", "constants.pkl")
"""An entry of every zip archive of torch.save, and one of torch.jit.save."""


COO = "torch.sparse_coo"
NUMBER_OF_PARTS = {COO: 3, "torch.sparse_csr": 4}
"""The number of parts of a saved sparse tensor: indices, values, size; or row starts, columns, values, size."""


class Storage:
    """Numbers of one type, stored one after the other; ``read`` returns them as bytes."""

    def __init__(self, dtype: torch.dtype, count: int, read: Callable[[], bytes]) -> None:
        self.dtype = dtype
        self.count = count
        self._read = read

    def numbers(self) -> Tensor:
        data = self._read()
        needed = self.count * self.dtype.itemsize
        if len(data) < needed:
            raise InvalidInput(f"a tensor claims {needed} bytes, and the file holds {len(data)} of it")
        return torch.frombuffer(bytearray(data), dtype=self.dtype, count=self.count) if self.count else torch.empty(0)


def is_torch_file(path: Path) -> bool:
    """Whether torch.save or torch.jit.save wrote the file, even if it is truncated."""
    with path.open("rb") as file:
        head = file.read(256)
    if head.startswith(LEGACY_HEAD):
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return b"/data.pkl" in head  # the first entry identifies a damaged archive
    return any(name.partition("/")[2] in ENTRIES for name in names)


def read_torch_file(path: Path, classes: Mapping[Name, Maker]) -> Any:
    """Read the object in a file, as inert records of the given ``classes``.

    Raises InvalidInput for a file that is missing, damaged, or of something else, and for a pickle that asks for more.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InvalidInput(f"{path} does not exist") from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return _read_zip(path, data, classes) if data.startswith(b"PK") else _read_legacy(path, data, classes)
    except (zipfile.BadZipFile, NotImplementedError, EOFError):
        raise InvalidInput(f"{path} is damaged: its zip archive cannot be read") from None


def _read_zip(path: Path, data: bytes, classes: Mapping[Name, Maker]) -> Any:
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    if "constants.pkl" in entries:
        raise InvalidInput(
            f"{path} is a TorchScript program, in which state and code are mixed: "
            "give the Python file that builds the network"
        )
    if "data.pkl" not in entries:
        raise InvalidInput(f"{path} is a zip archive, but not one of torch.save: it has no data.pkl")
    # torch.save compresses nothing. A compressed entry could be a zip bomb.
    if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in entries.values()):
        raise InvalidInput(f"{path} is a zip archive with packed entries, which torch.save does not write")
    if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
        raise InvalidInput(f"{path} was saved on a big-endian machine; save it on a little-endian one")
    if entries["data.pkl"].file_size > LARGEST_PICKLE:
        raise InvalidInput(f"{path}: its pickle is larger than {LARGEST_PICKLE >> 20} MB, which no network needs")

    def read(key: str) -> bytes:
        if f"data/{key}" not in entries:
            raise InvalidInput(f"a tensor's numbers are missing: {key[:20]!r}")
        return archive.read(entries[f"data/{key}"])

    return _Reader(path, len(data), read).read(io.BytesIO(archive.read(entries["data.pkl"])), classes)


def _read_legacy(path: Path, data: bytes, classes: Mapping[Name, Maker]) -> Any:
    """Read the format from before zip files: five pickles, and then the length and the numbers of each storage."""
    file = io.BytesIO(data)
    places: dict[str, tuple[int, int]] = {}
    reader = _Reader(path, len(data), lambda key: data[slice(*places[key])])
    try:
        opening = [read_pickle(file, {}, reader.storage, str(path)) for _ in range(3)]
    except InvalidInput:
        opening = []
    if opening[:2] != [LEGACY_MAGIC, LEGACY_PROTOCOL]:
        raise InvalidInput(f"{path} is not a file of torch.save")
    described = reader.read(file, classes)
    keys = read_pickle(file, {}, reader.storage, str(path))
    if not isinstance(keys, list) or not all(key in reader.item_sizes for key in keys):
        raise InvalidInput(f"{path}: its pickle is damaged")
    for key in keys:
        count, start = int.from_bytes(file.read(8), "little"), file.tell()
        end = start + count * reader.item_sizes[key]
        if end > len(data):
            raise InvalidInput(f"{path} is damaged: it ends within a tensor")
        places[key] = (start, end)
        file.seek(end)
    return described


class _Reader:
    """Creates the records of one file's tensors."""

    def __init__(self, path: Path, size: int, read: Callable[[str], bytes]) -> None:
        self.path = path
        self.size = size
        self._read = read
        self.item_sizes: dict[str, int] = {}
        self._storages: dict[str, Storage] = {}
        self._room = 8 * size + EXPANDED
        """The number of elements that all tensors may have in total. Several may share one storage."""

    def read(self, file: io.BytesIO, classes: Mapping[Name, Maker]) -> Any:
        return read_pickle(file, {**_INERT, **self._tensor_makers(), **classes}, self.storage, str(self.path))

    def storage(self, saved: Any) -> Any:
        match saved:
            case ("module", Name() as name, *_):  # older files store a class with its source code
                return name
            case ("storage", Name(name=kind), str(key), _, int(count), *_) if kind in STORAGES and count >= 0:
                dtype = STORAGES[kind]
                self.item_sizes[key] = dtype.itemsize
                if key not in self._storages:
                    self._storages[key] = Storage(dtype, count, lambda: self._read(key))
                return self._storages[key]
        raise TypeError

    def _tensor_makers(self) -> dict[Name, Maker]:
        makers: dict[str, Maker] = {
            "_rebuild_tensor_v2": self._tensor,
            "_rebuild_tensor": self._tensor,
            "_rebuild_parameter": lambda tensor, *_: tensor,
            "_rebuild_parameter_with_state": lambda tensor, *_: tensor,
            "_rebuild_sparse_tensor": self._sparse,
        }
        return {Name("torch._utils", name): maker for name, maker in makers.items()}

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> SavedTensor:
        numbers = (offset, *size, *stride)
        if not isinstance(storage, Storage) or len(size) != len(stride) or not all(type(n) is int for n in numbers):
            raise TypeError
        return SavedTensor(lambda: self._strided(storage, offset, tuple(size), tuple(stride)))

    def _strided(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        count = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride)) < 0 or (count and last >= storage.count):
            raise InvalidInput(f"a tensor of {list(size)} lies outside of its storage")
        self._spend(count)
        return storage.numbers().as_strided(size, stride, offset).clone() if count else torch.empty(size)

    def _sparse(self, layout: Any, parts: Any) -> SavedTensor:
        *tensors, size = parts[: NUMBER_OF_PARTS.get(layout, 0)]
        if not tensors or not all(isinstance(tensor, SavedTensor) for tensor in tensors):
            raise TypeError
        sizes = tuple(size)
        if not all(type(n) is int and n >= 0 for n in sizes):
            raise TypeError

        def sparse() -> Tensor:
            values = [tensor.value for tensor in tensors]
            try:
                indices = values[0] if layout == COO else _indices_of_csr(*values[:2])
                return torch.sparse_coo_tensor(indices, values[-1], sizes, check_invariants=True)
            except (RuntimeError, TypeError):
                raise InvalidInput("a sparse tensor is damaged") from None

        def dense() -> Tensor:
            self._spend(math.prod(sizes))
            return sparse().to_dense()

        return SavedTensor(sparse, dense)

    def _spend(self, count: int) -> None:
        self._room -= count
        if self._room < 0:
            raise InvalidInput(f"its tensors claim more elements than {self.size} bytes can hold")


def _indices_of_csr(starts: Tensor, columns: Tensor) -> Tensor:
    """The indices ``[2, nnz]`` of a CSR matrix. torch's own CSR tensors, which are in beta, would print a warning."""
    counts = starts.diff()
    if starts.dim() != 1 or (counts < 0).any() or int(counts.sum()) != columns.numel():
        raise TypeError
    rows = torch.arange(len(counts)).repeat_interleave(counts)
    return torch.stack([rows, columns.long()])


def _record(name: Name) -> Maker:
    return lambda *_: Saved(name)


_INERT: dict[Name, Maker] = {
    **NUMPY,
    Name("collections", "OrderedDict"): OrderedDict,
    Name("builtins", "set"): list,
    Name("torch", "Size"): tuple,
    Name("torch.serialization", "_get_layout"): lambda layout: layout,
    # The pickle of a bound method, such as a learning rule's update, names getattr. It is only recorded as a name.
    **{
        name: _record(name)
        for name in (
            Name("builtins", "getattr"),
            Name("torch._C", "_VariableFunctionsClass"),
            Name("torch", "device"),
            *(Name("torch", str(dtype).removeprefix("torch.")) for dtype in STORAGES.values()),
            *(Name("torch", storage) for storage in STORAGES),
        )
    },
}
