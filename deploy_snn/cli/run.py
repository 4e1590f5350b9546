"""``deploy-snn run``: run a bundle on recorded inputs. The final state can be saved, to continue later."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy_snn.cli.options import BundlePath, one_thread

if TYPE_CHECKING:
    from deploy_snn.runtimes import Runtime
    from deploy_snn.tensors import Arrays


def run(
    bundle: BundlePath,
    *,
    inputs: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="A .safetensors file with the inputs by name, [T, B, ...].")
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="The .safetensors file to write the outputs to, [T, B, ...].")
    ],
    runtime: Annotated[str, typer.Option("--runtime", help="The runtime to use.")] = "onnxruntime-cpu",
    state_in: Annotated[
        Path | None,
        typer.Option("--state-in", metavar="FILE", help="Continue from the state in this file.", show_default=False),
    ] = None,
    state_out: Annotated[
        Path | None,
        typer.Option("--state-out", metavar="FILE", help="Write the final state to this file.", show_default=False),
    ] = None,
    normalise_every: Annotated[
        int | None,
        typer.Option(
            "--normalise-every",
            metavar="STEPS",
            min=1,
            help="Normalise the weights after each sample of this many steps, if a learning rule has a norm.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a bundle on recorded inputs. --state-in continues exactly from the state that --state-out saved."""
    from deploy_snn.bundle import Bundle
    from deploy_snn.bundle.readout import vote
    from deploy_snn.contract import check_tensors
    from deploy_snn.runtimes import find_runtime
    from deploy_snn.tensors import check_finite, check_writable, read_tensors, write_tensors

    opened = Bundle.open(bundle)
    stepper_class = find_runtime(runtime, opened)
    contract = opened.contract
    sequences = read_tensors(inputs)
    sizes = check_tensors((spec.in_time() for spec in contract.inputs), sequences, "input")
    check_finite(sequences, "input")
    batch = {"batch": sizes["batch"]}
    state = read_tensors(state_in) if state_in else opened.initial_state(sizes["batch"])
    check_tensors(contract.states, state, "state", batch)
    check_finite(state, "state")
    for path in (output, state_out):
        if path:
            check_writable(path)
    stepper = stepper_class(opened)
    one_thread()
    stepper.start(state)
    recorded = _run_samples(stepper, sequences, normalise_every) if normalise_every else stepper.run(sequences)
    write_tensors(output, recorded)
    if state_out:
        write_tensors(state_out, stepper.state())
    readout = opened.manifest.readout
    if readout:
        labels = vote(readout, recorded[readout.output].sum(0))
        typer.echo(f"labels by the votes of {readout.layer}, row by row: {' '.join(map(str, labels))}")
    spikes = sum(int(array.sum()) for array in recorded.values() if array.dtype == bool)
    typer.echo(f"{sizes['time']} steps of a batch of {sizes['batch']} on {runtime}: {spikes} spikes, written to {output}")


def _run_samples(stepper: "Runtime", sequences: "Arrays", length: int) -> "Arrays":
    """Run samples of ``length`` steps one after the other. The weights are normalised after each whole one."""
    import numpy as np

    steps = len(next(iter(sequences.values())))
    parts = []
    for begin in range(0, steps, length):
        parts.append(stepper.run({name: values[begin : begin + length] for name, values in sequences.items()}))
        if begin + length <= steps:
            stepper.normalise()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
