"""norse's cells LIFBoxCell, LIFCell and IAFCell, and SequentialState (Pehle & Pedersen 2021, doi:10.5281/zenodo.4422025).

Euler steps of ``dt`` seconds: ``v + dt * tau_mem_inv * (v_leak - v + i)``. A potential above the threshold fires, and is
reset at once.
"""

from typing import Any

from torch import Tensor, nn

from deploy_snn.errors import InvalidInput
from deploy_snn.importers.torch_modules.part import Neurons, Part, as_float32, children_of
from deploy_snn.neurons import DifferenceCurrentLIFNodes, DifferenceLIFNodes

STEP_FUNCTIONS = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")
"""The threshold methods whose forward is the step function."""


def part_of(module: nn.Module) -> Part:
    """The part for a module of norse. Raises InvalidInput, without naming the module, if it has no counterpart."""
    cell: Any = module
    name = type(module).__name__
    if name == "SequentialState":
        if cell.return_hidden:
            raise InvalidInput("return_hidden=True has no counterpart")
        return children_of(module)
    if name == "LIFBoxCell":
        return _part(DifferenceLIFNodes, cell, _firing(cell) | _leak(cell))
    if name == "LIFCell":
        return _part(
            DifferenceCurrentLIFNodes, cell, _firing(cell) | _leak(cell) | {"i_decay": _decay(cell, "tau_syn_inv")}
        )
    if name == "IAFCell":
        reset = as_float32(cell.p.v_reset)
        return _part(DifferenceLIFNodes, cell, _firing(cell) | {"rest": reset})  # the initial potential
    reason = "its recurrence has no counterpart" if "Recurrent" in name else "it has no counterpart"
    raise InvalidInput(f"{reason}; of norse's cells, LIFBoxCell, LIFCell and IAFCell have")


def _part(cls: Any, cell: Any, options: dict[str, Any]) -> Neurons:
    return Neurons(cls, options, dt=float(f"{1e3 * float(cell.dt):.7g}"), owns_state=False)


def _loss(cell: Any, name: str) -> Tensor:
    """The loss of a step: ``dt`` times an inverse time constant, in float64."""
    inverse: Tensor = getattr(cell.p, name)
    return float(cell.dt) * inverse.detach().cpu().double()


def _decay(cell: Any, name: str) -> Tensor:
    return 1 - _loss(cell, name)


def _leak(cell: Any) -> dict[str, Any]:
    leak = as_float32(cell.p.v_leak)
    return {
        "decay": _decay(cell, "tau_mem_inv"),
        "rest": leak if bool((leak != 0).any()) else None,
        "gain": _loss(cell, "tau_mem_inv"),
    }


def _firing(cell: Any) -> dict[str, Any]:
    if cell.p.method not in STEP_FUNCTIONS:
        raise InvalidInput(f"method={cell.p.method!r} has no counterpart; {', '.join(STEP_FUNCTIONS)} have")
    reset = getattr(getattr(cell.p, "reset_method", None), "__name__", "reset_value")
    if reset not in ("reset_value", "reset_subtract"):
        raise InvalidInput(f"reset_method={reset} has no counterpart; reset_value and reset_subtract have")
    return {"thresh": as_float32(cell.p.v_th), "reset": as_float32(cell.p.v_reset) if reset == "reset_value" else None}
