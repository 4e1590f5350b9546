"""Python accepts and rejects the sample contracts in ``tests/contracts`` as their folders and indexes require."""

import json
from pathlib import Path

import pytest

from deploy_snn.contract import CONTRACT_VERSION, Contract, Kind, Operation, Role, differences
from deploy_snn.errors import InvalidInput

SAMPLES = Path(__file__).parent / "contracts"
ACCEPTED = sorted((SAMPLES / "accepted").glob("*.json"))
REFUSED = sorted((SAMPLES / "refused").glob("*.json"))
PHRASES = json.loads((SAMPLES / "refused.json").read_text())
PAIRS = json.loads((SAMPLES / "differences.json").read_text())


def read(path: Path) -> Contract:
    return Contract.parse(path.read_bytes(), str(path))


def test_the_samples_are_complete() -> None:
    """Every rejected file has a phrase, and the accepted ones use every role, kind, operation and version."""
    assert {path.stem for path in REFUSED} == set(PHRASES)
    contracts = [read(path) for path in ACCEPTED]
    specs = [spec for contract in contracts for spec in contract.tensors]
    assert {spec.role for spec in specs} == set(Role)
    assert {spec.kind for spec in specs} == {None, *Kind}
    assert {entry.operation for contract in contracts for entry in contract.rounding} == set(Operation)
    versions = {json.loads(path.read_bytes()).get("contract_version", 1) for path in ACCEPTED}
    assert versions == set(range(1, CONTRACT_VERSION + 1))


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_accepted_contract(path: Path) -> None:
    """An accepted contract, written again, is an equal contract of the current version."""
    contract = read(path)
    written = contract.model_dump_json()
    copy = Contract.parse(written, "the copy")
    assert copy == contract
    assert copy.model_dump_json() == written
    assert json.loads(written)["contract_version"] == CONTRACT_VERSION


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path.stem)
def test_rejected_contract(path: Path) -> None:
    with pytest.raises(InvalidInput) as error:
        read(path)
    start, _, reason = str(error.value).partition(" holds no valid contract: ")
    assert start == str(path)
    assert reason
    assert PHRASES[path.stem] in reason


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['expected']}-{pair['actual']}")
def test_differences(pair: dict) -> None:
    """The listed differences are found, and are empty if and only if the contracts are equal."""
    expected, actual = (read(SAMPLES / "accepted" / f"{pair[side]}.json") for side in ("expected", "actual"))
    assert list(differences(expected, actual)) == pair["differences"]
    assert (expected == actual) == (not pair["differences"])
