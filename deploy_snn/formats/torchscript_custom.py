"""The compiled step as operators of torch, behind the interface of format ``torchscript``, for C++ hosts on libtorch."""

import string
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.compiled import CSource, c_source
from deploy_snn.compiled.torch_operator import NAMESPACE, operator_name, operator_schemas, operator_source
from deploy_snn.contract import CONTRACT_FILE, Contract
from deploy_snn.formats.c import HEADER, WEIGHTS
from deploy_snn.formats.format import Format
from deploy_snn.formats.torchscript import drop_debug_entries
from deploy_snn.lowering import Lowered
from deploy_snn.torch_internals import save_script, script_operators

MODEL = "model.custom.pt"
SOURCE = "model.custom.c"


class TorchScriptCustom(Format):
    """TorchScript that calls the compiled step, and the source of the library with its operators. Options: none.

    The module has ``forward``, ``initial_state``, ``rollout`` and ``normalise``, each with one operator of
    ``torch.ops.deploy_snn``. Load the library before the module.
    """

    files: ClassVar[dict[str, str]] = {
        MODEL: "TorchScript with forward, initial_state and rollout, each one operator",
        SOURCE: "C99 source of the library for libtorch",
    }

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        compiled = c_source(lowered, header_name=HEADER)
        schemas = operator_schemas(compiled, lowered.contract)
        rows = {f"initial_{index}": lowered.initial_state[spec.name] for index, spec in enumerate(lowered.contract.states)}
        source = module_source(compiled, lowered.contract)
        with script_operators(source, NAMESPACE, [*schemas.values()], rows) as scripted:
            save_script(scripted, folder / MODEL, {CONTRACT_FILE: lowered.contract.model_dump_json()})
        drop_debug_entries(folder / MODEL)
        (folder / SOURCE).write_text(operator_source(compiled, lowered.contract, header_name=HEADER, weights_name=WEIGHTS))
        if compiled.weights:
            (folder / WEIGHTS).write_bytes(compiled.weights)
        return {
            "namespace": NAMESPACE,
            "operators": [operator_name(schema) for schema in schemas.values()],
            "weights": WEIGHTS if compiled.weights else "",
        }


def module_source(compiled: CSource, contract: Contract) -> str:
    """The methods of the module, in TorchScript. Its buffers ``initial_0``, ``initial_1``, ... are the initial states."""
    calls = {
        work: f"torch.ops.{NAMESPACE}.{operator_name(schema)}"
        for work, schema in operator_schemas(compiled, contract).items()
    }
    inputs = [f"inputs[{_text(spec.name)}]" for spec in contract.inputs]
    states = [f"state[{_text(spec.name)}]" for spec in contract.states]
    results = [f"result_{index}" for index in range(len(contract.outputs) + len(states))]
    outputs, after = results[: len(contract.outputs)], results[len(contract.outputs) :]
    typed = "self, inputs: Dict[str, Tensor], state: Dict[str, Tensor]"
    lines = []
    for name, work in (("forward", "step"), ("rollout", "run")):
        lines += [
            f"def {name}({typed}) -> Tuple[Dict[str, Tensor], Dict[str, Tensor]]:",
            f"    {', '.join(results)} = {calls[work]}({', '.join([*inputs, *states])})",
            *_dictionary("outputs", {spec.name: r for spec, r in zip(contract.outputs, outputs, strict=True)}),
            *_dictionary("after", {spec.name: r for spec, r in zip(contract.states, after, strict=True)}),
            "    return outputs, after",
        ]
    lines += [
        "def initial_state(self, batch: int) -> Dict[str, Tensor]:",
        *_dictionary("state", {spec.name: f"self.initial_{i}.clone()" for i, spec in enumerate(contract.states)}),
    ]
    for index, spec in enumerate(contract.states):
        if spec.batch_axis is not None:
            repeats = ", ".join("batch" if axis == spec.batch_axis else "1" for axis in range(len(spec.axes)))
            lines.append(f"    state[{_text(spec.name)}] = self.initial_{index}.repeat([{repeats}])")
    lines += ["    return state", "def normalise(self, state: Dict[str, Tensor]) -> Dict[str, Tensor]:"]
    learnt = {spec.name for spec in contract.weights}
    if "normalise" in calls:
        scaled = {spec.name: r for spec, r in zip(contract.states, after, strict=True) if spec.name in learnt}
        lines += [f"    {', '.join(after)} = {calls['normalise']}({', '.join(states)})", *_dictionary("scaled", scaled)]
    else:
        lines += _dictionary("scaled", {})
    return "\n".join([*lines, "    return scaled", ""])


def _dictionary(name: str, entries: dict[str, str]) -> list[str]:
    lines = [f"    {name}: Dict[str, Tensor] = {{}}"]
    return lines + [f"    {name}[{_text(key)}] = {value}" for key, value in entries.items()]


def _text(name: str) -> str:
    """A name as a literal of TorchScript: all but letters, digits and a few signs are octal escapes."""
    plain = string.ascii_letters + string.digits + "._- "
    safe = "".join(chr(byte) if chr(byte) in plain else f"\\{byte:03o}" for byte in name.encode())
    return f'"{safe}"'
