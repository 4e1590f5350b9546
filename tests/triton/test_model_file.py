"""``model.py`` without Triton: contract versions, failed steps, and memory that is freed."""

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal

from deploy_snn.bundle import Bundle
from deploy_snn.contract import CONTRACT_KEY, Contract
from deploy_snn.tensors import Array, Arrays
from deploy_snn.triton import write_repository

from ..serving_driver import EXPORT, draw, expected  # noqa: TID252

START, END = 1, 2


@dataclass(frozen=True)
class Tensor:
    title: str
    array: Array

    def name(self) -> str:
        return self.title

    def as_numpy(self) -> Array:
        return self.array


@dataclass(frozen=True)
class Error:
    message: str
    code: str
    INVALID_ARG = "invalid"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Response:
    output_tensors: list[Tensor] = field(default_factory=list)
    error: Error | None = None


@dataclass(frozen=True)
class Request:
    sequence: int | str
    arrays: Arrays
    bits: int = 0

    def correlation_id(self) -> int | str:
        return self.sequence

    def flags(self) -> int:
        return self.bits

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.arrays.items()]

    def parameters(self) -> str:
        return ""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """``load("lif")``: the model that Triton would run, with a stub of the python backend's module.

    ``edit`` changes the contract inside its ONNX file.
    """
    backend = ModuleType("triton_python_backend_utils")
    backend.__dict__.update(
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_START=START,
        TRITONSERVER_REQUEST_FLAG_SEQUENCE_END=END,
        Tensor=Tensor,
        TritonError=Error,
        InferenceResponse=Response,
        TritonModelException=RuntimeError,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", backend)
    monkeypatch.setattr(np, "__version__", "1.26.4")

    def model(name: str, edit: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Any:
        (folder,) = write_repository(tmp_path, [Bundle.open(EXPORT / name)], "python")
        if edit:
            edit_contract(folder / "1" / "model.onnx", edit)
        spec = importlib.util.spec_from_file_location("model", folder / "1" / "model.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "model", module)
        spec.loader.exec_module(module)
        loaded = module.TritonPythonModel()
        config = json.dumps({"sequence_batching": {"max_sequence_idle_microseconds": "600000000"}})
        loaded.initialize({"model_repository": str(folder), "model_version": "1", "model_config": config})
        return loaded

    return model


def edit_contract(path: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == CONTRACT_KEY]
    entry.value = json.dumps(edit(json.loads(entry.value)))
    onnx.save(model, path)


def as_version_1(contract: dict[str, Any]) -> dict[str, Any]:
    """The contract in the form of version 1: without version, kinds and owners, and with prose for rounding."""
    tensors = [{key: spec[key] for key in spec if key not in ("kind", "owner")} for spec in contract["tensors"]]
    return {"dt": contract["dt"], "tensors": tensors, "rounding": ["a dense connection's sum"]}


def as_version_2(contract: dict[str, Any]) -> dict[str, Any]:
    return Contract.parse(json.dumps(contract), "the bundle").model_dump(mode="json")


@pytest.mark.parametrize("version", [as_version_1, as_version_2])
@pytest.mark.parametrize("name", ["srm0", "adaptive-lif"])
def test_contracts_of_both_versions(name: str, version: Callable, load: Callable) -> None:
    """Contracts of versions 1 and 2 are read: missing noise is drawn, and a state shared by all rows works."""
    bundle, model = Bundle.open(EXPORT / name), load(name, version)
    drive = draw(bundle, 12, 1, seed=0)
    _, outputs = expected(bundle, drive, "a")
    for step in range(12):
        (answer,) = model.execute([Request("a", {"x": drive["x"][step]}, 0 if step else START)])
        assert_array_equal(answer.output_tensors[0].as_numpy(), outputs["s"][step])


def test_newer_contract_is_rejected(load: Callable) -> None:
    """A contract of a newer version is rejected by its version, also if its fields are unknown."""
    with pytest.raises(RuntimeError, match=r"contract version 3, and this model\.py reads versions 1 to 2"):
        load("lif", lambda contract: {"contract_version": 3, "signals": contract["tensors"]})


def test_failed_request_in_a_batch(load: Callable) -> None:
    """If a batch fails, only the faulty request fails; its stream and its noise are unchanged."""
    bundle, model = Bundle.open(EXPORT / "srm0"), load("srm0")
    runs = {name: expected(bundle, draw(bundle, 3, 1, seed), name) for seed, name in enumerate("abc")}
    session, bad_input = model.session, np.full((1, 8), -1, "float32")

    def failing_run(names: list[str], feeds: Arrays) -> list[Array]:
        if (feeds["x"] == -1).any():
            raise RuntimeError("no")
        return session.run(names, feeds)

    model.session = SimpleNamespace(run=failing_run)
    for step in range(3):
        invalid = (
            [Request("a", {"x": bad_input}), Request("never started", {"x": np.ones((1, 8), "float32")})] if step else []
        )
        requests = [Request(name, {"x": runs[name][0]["x"][step]}, 0 if step else START) for name in runs]
        answers = model.execute([*invalid, *requests[1:]])
        assert [answer.error.code for answer in answers[: len(invalid)]] == ["internal", "invalid"][: len(invalid)]
        answers = model.execute(requests[:1]) + answers[len(invalid) :]
        for name, answer in zip(runs, answers, strict=True):
            assert_array_equal(answer.output_tensors[0].as_numpy(), runs[name][1]["s"][step])


def test_ended_and_idle_streams_are_dropped(load: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream is dropped when it ends, when its last step fails, and after an idle time."""
    model, now = load("lif"), [0.0]
    monkeypatch.setattr(sys.modules["model"], "monotonic", lambda: now[0])

    def step(sequence: int | str, bits: int = 0, value: float = 1) -> Any:
        return model.execute([Request(sequence, {"x": np.full((1, 8), value, "float32")}, bits)])[0].error

    for sequence in ("works", "ends", "fails at its end", "rests"):
        assert step(sequence, START) is None
    assert step("ends", END) is None
    assert (
        step("fails at its end", END, np.nan).code == "invalid"
    )  # Triton has ended the sequence, so the stream is dropped
    assert list(model.streams) == ["works", "rests"]
    for now[0] in (500, 1000, 1199):
        assert step("works") is None
    assert "rests" in model.streams  # it is kept for twice the idle time of Triton
    now[0] = 1201
    assert step("works") is None
    assert list(model.streams) == ["works"]
    assert step("alone", START | END) is None
    assert list(model.streams) == ["works"]


def test_states_are_not_views_of_the_batch(load: Callable) -> None:
    """Each stream owns its state, so that it does not keep the memory of the whole batch."""
    model = load("lif")
    model.execute([Request(name, {"x": np.ones((1, 8), "float32")}, START) for name in "abcd"])
    assert all(array.base is None for stream in model.streams.values() for array in stream.state.values())


def test_shared_state_is_not_batched(load: Callable) -> None:
    """Requests of a model whose rows share a state are stepped one by one, also if Triton sends them together."""
    bundle, model = Bundle.open(EXPORT / "adaptive-lif"), load("adaptive-lif")
    runs = {name: expected(bundle, draw(bundle, 6, 1, seed), name) for seed, name in enumerate("ab")}
    for step in range(6):
        requests = [Request(name, {"x": runs[name][0]["x"][step]}, 0 if step else START) for name in runs]
        for name, answer in zip(runs, model.execute(requests), strict=True):
            assert_array_equal(answer.output_tensors[0].as_numpy(), runs[name][1]["s"][step])
