"""ExecuTorch: a ``.pte`` file with a step and a run, for phones, embedded Linux and C++ hosts without libtorch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from torch.export import ExportedProgram

from deploy_snn.contract import TIME, Contract
from deploy_snn.errors import InvalidInput, Unavailable, first_line
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered
from deploy_snn.torch_internals import input_order, output_places, silence_leaf_spec_warning

MODEL = "model.pte"
XNNPACK_MODEL = "model.xnnpack.pte"

STEP = "step"
SEQUENCE = "sequence"
CONTRACT = "contract"
"""The methods of a file. ``contract`` takes no argument and returns the contract as JSON."""


@dataclass(frozen=True)
class Executorch(Format):
    """ExecuTorch with its portable kernels: methods ``step`` and ``sequence``.

    Their arguments are the inputs and then the states, their results the outputs and then the next states, each in the
    order of the contract: a ``.pte`` file has no names. Memory is planned at export, so that batch and time are bounded.
    ExecuTorch 1.5 does not resize the state of a scan, and so the batch of ``sequence`` is fixed.

    Args:
        max_batch: the largest batch of ``step``. sequence_batch: the batch of ``sequence``.
        max_steps: the most steps in one call of ``sequence``. A convolution may limit it to 15; the manifest says so.

    Raises InvalidInput for a ``max_batch`` below 2, a ``sequence_batch`` below 1, and ``max_steps`` below 3.
    """

    max_batch: int = 8
    sequence_batch: int = 1
    max_steps: int = 32

    files: ClassVar[dict[str, str]] = {MODEL: "ExecuTorch program of a step and a run, batch and time bounded"}

    def __post_init__(self) -> None:
        for name, least in (("max_batch", 2), ("sequence_batch", 1), ("max_steps", 3)):
            if getattr(self, name) < least:
                raise InvalidInput(f"{name}={getattr(self, name)}: expected at least {least}")

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        try:
            from executorch import exir  # noqa: PLC0415  (an optional package)
        except ImportError as error:
            raise Unavailable(
                f"format executorch needs the package executorch (pip install executorch): {first_line(error)}"
            ) from None
        try:
            methods = {
                STEP: lowered.bounded_step(self.max_batch),
                SEQUENCE: lowered.bounded_sequence(self.sequence_batch, self.max_steps),
            }
            for captured in methods.values():
                _check_order(captured, lowered.contract)
            with silence_leaf_spec_warning():
                program = exir.to_edge_transform_and_lower(
                    methods,
                    partitioner=self._partitioners(),
                    # Its check of the graph runs operators that fix the batch to that of the example.
                    compile_config=exir.EdgeCompileConfig(_check_ir_validity=False),
                    constant_methods={CONTRACT: lowered.contract.model_dump_json()},
                    # Where 1.5 replaces a copy in a scan by a view, it computes wrong numbers without an error.
                ).to_executorch(exir.ExecutorchBackendConfig(remove_view_copy=False))
        except AssertionError:
            raise
        except Exception as error:  # (its passes raise exceptions of many classes)
            text = " ".join(str(error).split())[:300]
            raise Unavailable(f"this ExecuTorch does not support the model: {type(error).__name__}: {text}") from error
        (file,) = self.files
        bounds = {plan.name: self._bounds(plan, lowered.contract) for plan in program.executorch_program.execution_plan}
        with (folder / file).open("wb") as opened:
            program.write_to_file(opened)
        return asdict(self) | {"max_steps": bounds[SEQUENCE]["time"], "executorch": version("executorch")}

    def _bounds(self, plan: Any, contract: Contract) -> dict[str, int]:
        """The largest batch and number of steps that a method has memory for.

        Raises Unavailable if ExecuTorch has fixed an axis that must be open, or limited the batch. It does so with
        convolutions: torch chooses between their kernels by the leading axis, and stays below 16 rows or steps.
        """
        if plan.name not in {STEP, SEQUENCE}:
            return {}
        in_time = plan.name == SEQUENCE
        wanted = {"batch": self.sequence_batch, "time": self.max_steps} if in_time else {"batch": self.max_batch}
        inputs = [spec.in_time() if in_time else spec for spec in contract.inputs]
        bounds: dict[str, int] = {}
        for spec, place in zip((*inputs, *contract.states), plan.inputs, strict=True):
            tensor = plan.values[place].val
            for axis, size in zip(spec.axes, tensor.sizes, strict=True):
                if axis.size is None:
                    bounds.setdefault(axis.name, size)
            is_open = any(axis.size is None and (axis == TIME or not in_time) for axis in spec.axes)
            if bool(tensor.shape_dynamism) is not is_open or tuple(tensor.sizes) != spec.shape(**bounds):
                raise Unavailable(
                    f"this ExecuTorch has fixed the shape of '{spec.name}' in {plan.name} at {list(tensor.sizes)}"
                )
        if bounds["batch"] != wanted["batch"]:
            raise Unavailable(
                f"this ExecuTorch limits the batch of {plan.name} to {bounds['batch']} for this model, and "
                f"{wanted['batch']} was requested: export it for at most {bounds['batch']}"
            )
        return bounds

    def _partitioners(self) -> Sequence[Any] | None:
        """The backends that take over parts of the graph."""
        return None


class ExecutorchXnnpack(Executorch):
    """ExecuTorch with XNNPACK's kernels where it has them. Arguments: those of :class:`Executorch`."""

    files: ClassVar[dict[str, str]] = {XNNPACK_MODEL: "ExecuTorch program with XNNPACK, batch and time bounded"}

    def _partitioners(self) -> Sequence[Any] | None:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # noqa: PLC0415

        return [XnnpackPartitioner()]


def _check_order(captured: ExportedProgram, contract: Contract) -> None:
    """States of the same shape in another order would be swapped without an error."""
    outputs, states = output_places(captured)
    found = [*sorted(outputs, key=outputs.__getitem__), *sorted(states, key=states.__getitem__)]
    assert [*outputs.values(), *states.values()] == list(range(len(found)))
    assert found == [spec.name for spec in (*contract.outputs, *contract.states)]
    assert input_order(captured) == [spec.name for spec in (*contract.inputs, *contract.states)]
