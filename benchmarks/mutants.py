"""The campaign of planted faults: every mutant of step.onnx, sequence.onnx and model.c of all neurons and three networks.

``python benchmarks/mutants.py`` prints how many mutants parity's default stimuli detect, and why the others survive.
``--markdown FILE`` writes the tables. What survives without a reason here fails the run.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from tables import Table

import deploy_snn
from deploy_snn.bundle import Bundle
from deploy_snn.neurons import NEURONS
from deploy_snn.parity import Plan
from deploy_snn.parity.c_mutants import c_self_test
from deploy_snn.parity.self_test import MutantResult, SelfTest, self_test

ROOT = Path(__file__).parent.parent
STEPS = 100
NETWORKS = {
    "diehl_cook_2015": {"n": 16, "n_input": 64},
    "conv_lif": {"size": 6, "channels": 2},
    "reservoir_srm0": {"n": 30, "n_input": 16},
}
TITLES = {
    "onnx": "Mutants on onnxruntime-cpu: step.onnx locked and free, sequence.onnx",
    "c": "Mutants of model.c, compiled: locked, free and as a sequence",
}
UNEXPLAINED = "NOT EXPLAINED"
ONE_ULP = r"(\+|-) 1 ulp"
EXPLAINED = [
    (
        "diehl",
        rf"(val_3|val_4|val_3_2) ({ONE_ULP}|(\+|-) 1 %)",
        "any number below all noise marks no candidate",
    ),
    ("srm0", r"Mul -> \S+: only operand", "a factor of 1: rho_0 and dt"),
    (
        "srm0",
        rf"\S*(thresh|rho_0|d_thresh|scalar_tensor_default_\d) {ONE_ULP}",
        "the contract's rounding of a probability",
    ),
    (
        "subtractive",
        r"scalar_tensor_default_1 \+ 1",
        "a counter of 1 ms becomes 0 on both sides: it counts down by dt = 1 ms",
    ),
    (
        "conv_lif",
        r"ArgMax -> \S+: the last of equals",
        "decayed rates are equal only after equal spikes, so that any of them gives the same",
    ),
    (
        "conv_lif",
        r"line \d+: if \(!\(state->work\.conv_to_pool_values\[.*\] < best\)",
        "decayed rates are equal only after equal spikes, so that any of them gives the same",
    ),
    ("_", rf"connections\.\d+\.(w|fan_in) {ONE_ULP}", "an ulp of a weight is lost in its sum with a potential of -65 mV"),
]
"""Models, mutants and why these compute the same, or what the contract allows to differ."""


def reason(model: str, survivor: MutantResult) -> str | None:
    """Why a mutant survives; None if there is no good reason."""
    found = (why for name, what, why in EXPLAINED if name in model and re.fullmatch(rf"{what}.*", survivor.what))
    return next(found, None)


def tested(folder: Path, only: set[str], campaign: str) -> Iterator[SelfTest]:
    """The campaign on the files of one format, model by model."""
    run = {"onnx": self_test, "c": c_self_test}[campaign]
    for name in [*NEURONS, *NETWORKS]:
        if only and name not in only:
            continue
        torch.manual_seed(0)
        if name in NETWORKS:
            model = deploy_snn.load_model(ROOT / "models" / f"{name}.py", **NETWORKS[name])
        else:
            options = {"thresh": 1.0, "reset": 0.0, "refrac": 2.0} if name == "subtractive-reset-if" else {}
            model = deploy_snn.load_model(name, n=8, **options)
        snap = 14 if name in NETWORKS else None
        deploy_snn.export(model, folder / name, formats=[campaign], golden_steps=0, snap_bits=snap)
        yield run(Bundle.open(folder / name), Plan(steps=STEPS))


def row(test: SelfTest) -> list[str]:
    """A model's numbers: planted, detected by each stimulus, refused by the runtime, explained, surviving."""
    by = Counter(result.killed_by if result.mode != "load" else "load" for result in test.results)
    reasons = [reason(test.model, survivor) for survivor in test.survivors]
    unexplained = sum(why is None for why in reasons)
    numbers = [len(test.results), by["poisson"], by["threshold"], by["load"], len(reasons) - unexplained, unexplained]
    return [test.model, *map(str, numbers)]


def main() -> int:
    """Run the campaign and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of models, separated by commas")
    parser.add_argument("--format", default="onnx,c", help="the formats whose files are mutated")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["model", "planted", "poisson detects", "threshold too", "not loaded", "explained", "surviving"]
    tables, kept = [], []
    for campaign in arguments.format.split(","):
        with tempfile.TemporaryDirectory() as folder:
            tests = list(tested(Path(folder), set(filter(None, arguments.only.split(","))), campaign))
        rows = [row(test) for test in tests]
        totals = [str(sum(int(line[index]) for line in rows)) for index in range(1, len(columns))]
        tables.append(Table(f"{TITLES[campaign]}; {STEPS} steps, batch 3", columns, [*rows, ["all", *totals]]))
        kept += [[t.model, s.file, s.what, reason(t.model, s) or UNEXPLAINED] for t in tests for s in t.survivors]
    tables.append(Table("What survives, and why", ["model", "file", "mutant", "reason"], kept))
    for table in tables:
        table.show(Console(width=160))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(table.markdown() for table in tables))
    return 1 if any(line[-1] == UNEXPLAINED for line in kept) else 0


if __name__ == "__main__":
    sys.exit(main())
