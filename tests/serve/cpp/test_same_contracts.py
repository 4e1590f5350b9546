"""The C++ hosts read every contract as Python reads it: the samples in ``tests/contracts``, and random ones."""

import json
import subprocess
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy_snn.contract import Contract, differences
from deploy_snn.errors import InvalidInput

pytestmark = pytest.mark.hosts

SAMPLES = Path(__file__).parent.parent.parent / "contracts"
ACCEPTED = sorted((SAMPLES / "accepted").glob("*.json"))
REFUSED = sorted((SAMPLES / "refused").glob("*.json"))
PROSE = {"unit", "initial"}


def contracts_program(build, *arguments: object) -> list[Any]:
    """The lines of ``serve/cpp/tests/contracts.cpp``."""
    command = [str(build.folder / "contracts"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdict(path: Path) -> dict[str, Any]:
    """What Python makes of a file, as the C++ program prints it."""
    try:
        contract = Contract.parse(path.read_bytes(), str(path))
    except InvalidInput as error:
        return {"refused": str(error)}
    whole = contract.model_dump(mode="json")
    whole["tensors"] = [{key: value for key, value in spec.items() if key not in PROSE} for spec in whole["tensors"]]
    by_name = {spec["name"]: spec for spec in whole["tensors"]}
    groups = {"inputs": contract.inputs, "states": contract.states, "outputs": contract.outputs}
    return {"contract": whole | {group: [by_name[spec.name] for spec in specs] for group, specs in groups.items()}}


def compare_verdicts(build, paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Assert that both accept the same files, as the same contracts. Returns the verdicts of C++."""
    paths = list(paths)
    found = contracts_program(build, "parse", *paths)
    assert len(found) == len(paths)
    for path, theirs in zip(paths, found, strict=True):
        ours = verdict(path)
        shown = f"{path.read_bytes()[:3000]!r}\nPython: {ours}\nC++: {theirs}"
        assert theirs.keys() == ours.keys(), shown
        assert "refused" in ours or theirs == ours, shown
    return found


def test_the_samples(build) -> None:
    phrases = json.loads((SAMPLES / "refused.json").read_text())
    assert all("contract" in found for found in compare_verdicts(build, ACCEPTED))
    for path, found in zip(REFUSED, compare_verdicts(build, REFUSED), strict=True):
        assert found["refused"].startswith(f"{path} holds no valid contract: ")
        assert phrases[path.stem] in found["refused"].removeprefix(str(path)), found["refused"]


def test_differences(build) -> None:
    """Of all pairs of samples, and of those in the index as it says."""
    pairs = [(expected, actual) for expected in ACCEPTED for actual in ACCEPTED]
    found = contracts_program(build, "differences", *(path for pair in pairs for path in pair))
    contracts = {path: Contract.parse(path.read_bytes(), str(path)) for path in ACCEPTED}
    assert found == [list(differences(contracts[expected], contracts[actual])) for expected, actual in pairs]
    by_name = {(expected.stem, actual.stem): each for (expected, actual), each in zip(pairs, found, strict=True)}
    for pair in json.loads((SAMPLES / "differences.json").read_text()):
        assert by_name[pair["expected"], pair["actual"]] == pair["differences"]


VALUES: list[Any] = [
    None, True, 0, 1, 2, 3, -1, 8.0, 0.1, 1e30, 2**63 - 1, 2**63, 2**64, 10**30, "", "v", "x", "batch",
    "time", "state", "drive",
    "spikes", "record", "noise", "potential", "sum", "exp", "float32", "bool", "record.a.v",
    "a: the recurrent sum", "two exponentials",
    [], {}, [[]],
    {"name": "batch", "size": None}, {"name": "neuron", "size": 1}, {"tensor": "v", "operation": "exp"},
]  # fmt: skip
FIELDS = [
    "contract_version",
    "dt",
    "tensors",
    "rounding",
    "name",
    "role",
    "kind",
    "dtype",
    "axes",
    "owner",
    "unit",
    "size",
    "tensor",
    "z",
]


@st.composite
def spoilt_contracts(draw: st.DrawFn) -> str:
    """A sample with one or two values replaced, removed, added or repeated anywhere in it."""
    document = deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 2))):
        node = document
        while children := [key for key, value in entries(node) if isinstance(value, dict | list)]:
            if draw(st.integers(0, 3)) == 0:
                break
            node = node[draw(st.sampled_from(children))]
        keys = [key for key, _ in entries(node)]
        change = draw(st.sampled_from(["replace", "remove", "add", "repeat"]))
        if change == "add" or not keys:
            value = deepcopy(draw(st.sampled_from(VALUES)))
            if isinstance(node, dict):
                node[draw(st.sampled_from(FIELDS))] = value
            else:
                node.insert(draw(st.integers(0, len(node))), value)
        elif change == "replace":
            node[draw(st.sampled_from(keys))] = deepcopy(draw(st.sampled_from(VALUES)))
        elif change == "remove":
            del node[draw(st.sampled_from(keys))]
        elif isinstance(node, list):
            node.append(deepcopy(node[draw(st.sampled_from(keys))]))
    return json.dumps(document)


def entries(node: dict | list) -> list[tuple[Any, Any]]:
    return list(node.items() if isinstance(node, dict) else enumerate(node))


DOCUMENTS = [json.loads(path.read_bytes()) for path in ACCEPTED]


@settings(max_examples=30, deadline=None, suppress_health_check=[*HealthCheck])
@given(texts=st.lists(spoilt_contracts(), min_size=20, max_size=20))
def test_random_contracts(texts: list[str], build, tmp_path: Path) -> None:
    paths = [tmp_path / f"{place}.json" for place in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    compare_verdicts(build, paths)
