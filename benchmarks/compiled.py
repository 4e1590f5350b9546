"""Compare compiled C with a hand-written loop, our other runtimes and other frameworks: microseconds a step, one core.

``make compiled`` installs the peers and runs all cases. A part, in the environments that it has made:
``.venv/compiled/bin/python benchmarks/compiled.py --cases lif,batch [--rounds 10] [--markdown FILE]``

The peers are those of ``benchmarks/peers.txt``, on top of .venv, which has BindsNET; and Brian2 (``benchmarks/brian2.txt``)
in an environment of its own. A peer that cannot run is left out by name, with the reason. The spikes are compared before
anything is measured. The rounds of all contenders of a case alternate, so that they share what else the machine does; times
are medians over the rounds. The first run takes some minutes more, because g++ compiles what Brian2 writes.
"""

import argparse
import importlib
import importlib.metadata
from pathlib import Path

import torch
from compiled_c.bandwidth import allowed_micros, read_rate
from compiled_c.batch import PRODUCT
from compiled_c.bindsnet import BINDSNET
from compiled_c.brian import BRIAN, brian_version
from compiled_c.emx import EMX
from compiled_c.goals import beside_goals
from compiled_c.hand import HAND
from compiled_c.one_core import pin_to_one_core
from compiled_c.one_node import ONE_NODE
from compiled_c.ours import ONNX, PYTHON, C
from compiled_c.rounds import Result, measure
from compiled_c.scan import JAX
from compiled_c.sparse import NEST
from compiled_c.weights import FLOAT32, INT8, INT16
from rich.console import Console
from tables import Table

CASES = {
    "lif": "compiled_c.lif",
    "diehl-cook": "compiled_c.diehl_cook",
    "izhikevich": "compiled_c.izhikevich",
    "convolution": "compiled_c.convolution",
    "sparse": "compiled_c.sparse",
    "batch": "compiled_c.batch",
    "weights": "compiled_c.weights",
    "growth": "compiled_c.growth",
    "one-node": "compiled_c.one_node",
}
ALL = (C, PYTHON, FLOAT32, INT16, INT8, HAND, PRODUCT, ONNX, ONE_NODE, JAX, BRIAN, BINDSNET, NEST, EMX)
"""The order of the columns."""
PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "bindsnet", "jax", "emx-onnx-cgen", "nest-simulator")
SIZES = {"16 kB": 2**14, "256 kB": 2**18, "4 MB": 2**22, "64 MB": 2**26}


def times(title: str, results: list[Result]) -> Table:
    """Microseconds a step, with what the memory allows."""
    names = [name for name in ALL if any(name in result.micros for result in results)]
    rows = []
    for result in results:
        case = result.case
        cells = [f"{result.micros[name]:.3g}" if name in result.micros else "-" for name in names]
        allowed = allowed_micros(case.step_bytes, case.working_set)
        rows.append([case.title, *cells, f"{case.step_bytes / 1000:.3g}", f"{allowed:.2g}"])
    unit = "a step and row" if any(result.case.rows > 1 for result in results) else "a step"
    return Table(f"{title}: µs {unit}", ["", *names, "kB a step", "memory allows"], rows)


def spikes(name: str, results: list[Result]) -> Table:
    """How the spikes of each contender agree with those of C, and who was left out."""
    rows = []
    for result in results:
        reference = next(iter(result.case.contenders))
        rows += [[result.case.title, peer, words] for peer, words in result.spikes.items() if peer != reference]
        rows += [[result.case.title, peer, f"left out: {reason}"] for peer, reason in result.skipped.items()]
    return Table(f"{name}: spikes beside those of c", ["", "", "spikes"], rows)


def versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([*found, brian_version()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES), help="the cases to run")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    chosen = options.cases.split(",")
    if unknown := set(chosen) - CASES.keys():
        parser.error(f"unknown cases {', '.join(sorted(unknown))}; choose from {', '.join(CASES)}")
    pin_to_one_core()
    torch.set_num_threads(1)
    console = Console(width=200)
    console.print(versions())
    rates = ", ".join(f"{read_rate(size) / 1e9:.3g} GB/s of {name}" for name, size in SIZES.items())
    console.print(f"This core reads {rates}.")
    tables = []
    for name in chosen:
        results = []
        for case in importlib.import_module(CASES[name]).cases():
            results.append(measure(case, options.rounds))
            console.print(f"{case.title}: {results[-1].rounds} rounds", style="dim")
        goals = [] if name == "growth" else [beside_goals(name, results)]  # short calls are mostly Python
        for table in (times(name, results), *goals, spikes(name, results)):
            if table.rows:
                table.show(console)
                tables.append(table.markdown())
        if options.markdown:
            options.markdown.write_text("\n".join(tables))


if __name__ == "__main__":
    main()
