"""A self-check in C: the first steps of the golden trace, compiled in, and a function that compares them on the device."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deploy_snn.compiled.elements import array_text, number
from deploy_snn.compiled.loops import Array, LoopProgram, Storage, Type
from deploy_snn.compiled.names import Namespace
from deploy_snn.eager import to_numpy, to_torch
from deploy_snn.errors import InvalidInput
from deploy_snn.lowering import Lowered
from deploy_snn.tensors import Arrays


class SelfCheck:
    """The first steps of the golden trace, compiled in: a device compares its own results with them."""

    def __init__(self, lowered: Lowered, prefix: str, program: LoopProgram, steps: int, names: Namespace) -> None:
        golden = lowered.golden
        if golden is None or golden.steps < steps:
            raise InvalidInput(
                f"check_steps={steps}: the model has {'no golden trace' if golden is None else f'a golden trace of {golden.steps} steps'}"  # noqa: E501
            )
        self.lowered, self.prefix, self.program, self.steps = lowered, prefix, program, steps
        self.inputs = {name: array[:steps, :1] for name, array in golden.inputs.items()}
        self.outputs, self.state = self._expected()
        self.names = {array: names.add(f"golden_{array.name}") for array in self._arrays()}
        self.tolerance = 1e-5 if lowered.contract.rounding else 0.0

    def _arrays(self) -> list[Array]:
        return [*self.program.inputs, *self.program.outputs, *self.program.states]

    def _expected(self) -> tuple[dict[str, NDArray[Any]], Arrays]:
        """The results of the captured step for the first row alone."""
        step = self.lowered.step.module()
        state, outputs = dict(self.lowered.initial_state), []
        with torch.no_grad():
            for t in range(self.steps):
                now, state = step(to_torch({name: array[t] for name, array in self.inputs.items()}), state)
                outputs.append(to_numpy(now))
        return {name: np.stack([now[name] for now in outputs]) for name in outputs[0]}, to_numpy(state)

    def declaration(self, *, external: bool) -> Iterator[str]:
        p = self.prefix
        yield ""
        yield f"/* The memory of {p}_check. */"
        yield "typedef struct {"
        yield f"    {p}_state state;"
        for array in self.program.outputs:
            yield f"    {array.type} {array.name}[{array.size}];"
        yield f"}} {p}_check_memory;"
        yield ""
        yield f"/* Compare {self.steps} steps with those of torch. Returns 0 if they are equal, or the number of the first step that"  # noqa: E501
        yield f"   differs, from 1. {'Set memory->state.weights first.' if external else ''} */"
        yield f"int32_t {p}_check({p}_check_memory *memory);"

    def function(self) -> Iterator[str]:
        p, program = self.prefix, self.program
        yield from ("", "/* The first steps of the golden trace. */")
        for array in [*program.inputs, *program.outputs]:
            values = (self.inputs if array.storage is Storage.INPUT else self.outputs)[array.tensor]
            yield from self._text(array, values)
        for array in program.states:
            yield from self._text(array, self.state[array.tensor])
        yield ""
        yield f"int32_t {p}_check({p}_check_memory *memory)"
        yield "{"
        yield f"    {p}_inputs inputs;"
        yield f"    {p}_outputs outputs;"
        yield f"    {p}_initial_state(&memory->state);"
        yield f"    for (int32_t t = 0; t < {self.steps}; t++) {{"
        for array in program.inputs:
            yield f"        inputs.{array.name} = {self.names[array]} + t * {array.size};"
        for array in program.outputs:
            yield f"        outputs.{array.name} = memory->{array.name};"
        yield f"        {p}_step(&memory->state, &inputs, &outputs);"
        for array in program.outputs:
            yield from self._compared(array, f"memory->{array.name}[i]", f"t * {array.size} + i", "t + 1", "        ")
        yield "    }"
        for array in program.states:
            yield from self._compared(array, f"memory->state.{array.name}[i]", "i", str(self.steps), "    ")
        yield from ("    return 0;", "}")

    def _compared(self, array: Array, actual: str, at: str, step: str, pad: str) -> Iterator[str]:
        expected = f"{self.names[array]}[{at}]"
        yield f"{pad}for (int32_t i = 0; i < {array.size}; i++) {{"
        differs = f"{actual} != {expected}"
        if self.tolerance and array.type is Type.FLOAT:
            slack = f"{number(self.tolerance)} * (1.0f + ({expected} < 0.0f ? -{expected} : {expected}))"
            differs = f"!({actual} - {expected} <= {slack} && {expected} - {actual} <= {slack})"
        yield f"{pad}    if ({differs}) {{"
        yield f"{pad}        return {step};"
        yield from (f"{pad}    }}", f"{pad}}}")

    def _text(self, array: Array, values: NDArray[Any]) -> Iterator[str]:
        kind = Type.FLOAT if array.storage is Storage.INPUT else array.type
        flat = values.reshape(-1)
        yield from array_text(f"static const {kind} {self.names[array]}[{flat.size}]", kind, flat)
