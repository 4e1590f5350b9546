"""``deploy-snn run``: run a model on recorded inputs. The final state can be saved, to continue later."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy_snn.cli.model import Model, opening
from deploy_snn.cli.options import Dt, N, Set, Shape, complete_runtime, one_thread
from deploy_snn.cli.progress import Progress
from deploy_snn.cli.table import count
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from deploy_snn.bundle import Bundle
    from deploy_snn.runtimes import Runtime
    from deploy_snn.tensors import Arrays

STEPS_PER_CALL = 1000
"""The number of steps in one call. A longer recording is run in pieces, to show progress; the outputs do not change."""

InputSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        help="Draw the noise that the model needs and the recording lacks; also the seed of a MODEL's random weights.",
        show_default=False,
    ),
]


def run(
    model: Model,
    *,
    inputs: Annotated[
        Path, typer.Option("--input", metavar="FILE", help="A .safetensors file with the inputs by name, [T, B, ...].")
    ],
    output: Annotated[
        Path, typer.Option("--output", metavar="FILE", help="The .safetensors file to write the outputs to, [T, B, ...].")
    ],
    runtime: Annotated[
        str, typer.Option("--runtime", help="The runtime to use.", autocompletion=complete_runtime)
    ] = "onnxruntime-cpu",
    seed: InputSeed = None,
    state_in: Annotated[
        Path | None,
        typer.Option("--state-in", metavar="FILE", help="Continue from the state in this file.", show_default=False),
    ] = None,
    state_out: Annotated[
        Path | None,
        typer.Option("--state-out", metavar="FILE", help="Write the final state to this file.", show_default=False),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write the inputs, the outputs and each state after each step to this file, which `plot` draws.",
            show_default=False,
        ),
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
    n: N = None,
    shape: Shape = None,
    dt: Dt = None,
    sets: Set = None,
) -> None:
    """Run a model on recorded inputs. --state-in continues exactly from the state that --state-out saved.

    A stochastic model takes noise as an input. --seed draws it if the recording has none; the same seed gives the same run.
    """
    from deploy_snn.bundle.readout import vote
    from deploy_snn.contract import check_tensors
    from deploy_snn.runtimes import find_runtime
    from deploy_snn.tensors import check_finite, check_writable, read_tensors, write_tensors

    if trace and normalise_every:
        raise InvalidInput("--trace and --normalise-every cannot be used together")
    with ExitStack() as stack:
        options = {"n": n, "shape": shape, "dt": dt, "sets": sets, "seed": seed or 0}
        opened = opening(model, stack, runtime=runtime, golden_steps=0, **options)()  # type: ignore[arg-type]
        stepper_class = find_runtime(runtime, opened)
        contract = opened.contract
        sequences, drawn = read_inputs(opened, inputs, seed)
        sizes = check_tensors((spec.in_time() for spec in contract.inputs), sequences, "input")
        check_finite(sequences, "input")
        batch = {"batch": sizes["batch"]}
        state = read_tensors(state_in) if state_in else opened.initial_state(sizes["batch"])
        check_tensors(contract.states, state, "state", batch)
        check_finite(state, "state")
        for path in (output, state_out, trace):
            if path:
                check_writable(path)
        stepper = stepper_class(opened)
        one_thread()
        stepper.start(state)
        with Progress() as progress:
            progress.begin(opened.name)
            progress.expect(sizes["time"])
            if trace:
                recorded = _run_traced(stepper, state, sequences, trace, progress)
            else:
                recorded = _run(stepper, sequences, normalise_every, progress)
        notes = {"model": opened.name, "runtime": runtime} | ({} if seed is None else {"seed": str(seed)})
        write_tensors(output, recorded, notes)
        if state_out:
            write_tensors(state_out, stepper.state())
    readout = opened.manifest.readout
    if readout:
        labels = vote(readout, recorded[readout.output].sum(0))
        typer.echo(f"labels by the votes of {readout.layer}, row by row: {' '.join(map(str, labels))}")
    if drawn:
        typer.echo(f"noise drawn with --seed {seed}: {', '.join(drawn)}")
    spikes = sum(int(array.sum()) for array in recorded.values() if array.dtype == bool)
    typer.echo(
        f"{count(sizes['time'], 'step')} of a batch of {sizes['batch']} on {runtime}: {count(spikes, 'spike')}, "
        f"written to {output}"
    )


def read_inputs(bundle: "Bundle", path: Path, seed: int | None) -> "tuple[Arrays, list[str]]":
    """Read a recording, and draw the noise that it lacks. Returns the inputs, and the names of what was drawn.

    Raises InvalidInput, naming the option, if noise is missing and there is no seed.
    """
    from deploy_snn.contract import Role
    from deploy_snn.noise import draw_noise
    from deploy_snn.tensors import read_tensors

    sequences = read_tensors(path)
    missing = [spec.name for spec in bundle.contract.inputs if spec.role is Role.NOISE and spec.name not in sequences]
    if missing and seed is None:
        raise InvalidInput(f"input '{missing[0]}' is missing from {path}: it is noise, and --seed N draws it")
    drawn = draw_noise(bundle.contract, sequences, seed or 0) if missing else {}
    return sequences | drawn, list(drawn)


def _run(stepper: "Runtime", sequences: "Arrays", sample: int | None, progress: Progress) -> "Arrays":
    """Run a recording piece by piece. With ``sample``, normalise the weights after each whole sample of this length."""
    import numpy as np

    steps = len(next(iter(sequences.values())))
    length = sample or STEPS_PER_CALL
    parts = []
    for begin in range(0, steps, length):
        parts.append(stepper.run({name: values[begin : begin + length] for name, values in sequences.items()}))
        progress.advance(min(length, steps - begin))
        if sample and begin + sample <= steps:
            stepper.normalise()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _run_traced(stepper: "Runtime", start: "Arrays", sequences: "Arrays", path: Path, progress: Progress) -> "Arrays":
    """Run a recording step by step, and write a trace."""
    import numpy as np

    from deploy_snn.bundle.trace import Trace, at

    outputs: list[Arrays] = []
    states: list[Arrays] = []
    for step in range(len(next(iter(sequences.values())))):
        outputs.append(stepper.step(at(sequences, step)))
        states.append({name: array.copy() for name, array in stepper.state().items()})
        progress.advance(1)
    stacked = [{name: np.stack([step[name] for step in steps]) for name in steps[0]} for steps in (outputs, states)]
    Trace(start, sequences, *stacked).write(path)
    return stacked[0]
