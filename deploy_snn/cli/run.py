"""``deploy-snn run``: feed a recording to a bundle, and keep the state so that the run can go on later."""

from pathlib import Path
from typing import Annotated

import typer

from deploy_snn.cli.options import BundlePath, one_thread


def run(
    bundle: BundlePath,
    *,
    inputs: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="A .safetensors file of inputs by name, [T, B, ...].")
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="Where the outputs go, as .safetensors, [T, B, ...].")
    ],
    runtime: Annotated[str, typer.Option("--runtime", help="The runtime that steps it.")] = "onnxruntime-cpu",
    state_in: Annotated[
        Path | None, typer.Option("--state-in", metavar="FILE", help="Go on from this state.", show_default=False)
    ] = None,
    state_out: Annotated[
        Path | None, typer.Option("--state-out", metavar="FILE", help="Write the last state there.", show_default=False)
    ] = None,
) -> None:
    """Run a bundle on recorded inputs. With --state-in it continues exactly where a --state-out left it."""
    from deploy_snn.bundle import Bundle
    from deploy_snn.bundle.readout import vote
    from deploy_snn.contract import check_tensors
    from deploy_snn.runtimes import find_runtime
    from deploy_snn.tensors import check_finite, check_writable, read_tensors, write_tensors

    stepper_class = find_runtime(runtime)
    opened = Bundle.open(bundle)
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
    recorded = stepper.run(sequences)
    write_tensors(output, recorded)
    if state_out:
        write_tensors(state_out, stepper.state())
    readout = opened.manifest.readout
    if readout:
        labels = vote(readout, recorded[readout.output].sum(0))
        typer.echo(f"labels by the votes of {readout.layer}, row by row: {' '.join(map(str, labels))}")
    spikes = sum(int(array.sum()) for array in recorded.values() if array.dtype == bool)
    typer.echo(f"{sizes['time']} steps of a batch of {sizes['batch']} on {runtime}: {spikes} spikes, written to {output}")
