"""WebAssembly: the C of format ``c``, compiled with SIMD to a module without imports, for browsers and edge hosts."""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

from deploy_snn.c_compiler import FLAGS, compile_in, find_zig
from deploy_snn.compiled import CSource, c_source
from deploy_snn.contract import CONTRACT_KEY
from deploy_snn.errors import Unavailable
from deploy_snn.formats.c import HEADER, SOURCE, WEIGHTS
from deploy_snn.formats.format import Format
from deploy_snn.lowering import Lowered
from deploy_snn.wasm_module import add_section

MODULE = "model.wasm"

STACK = 64 * 2**10
"""The size of the stack in bytes. The functions of a model need less than 2 KiB."""
TARGET = ("-target", "wasm32-freestanding", "-msimd128", "-isystem", "include", "-Wl,--no-entry", "-Wl,--strip-all")
HEADERS = {
    "string.h": """
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);
""",
    # expf, logf and the others without an instruction come from zig's compiler-rt.
    "math.h": """
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define sqrtf __builtin_sqrtf
#define fabsf __builtin_fabsf
#define floorf __builtin_floorf
#define ceilf __builtin_ceilf
#define rintf __builtin_rintf
float expf(float);
float logf(float);
float tanhf(float);
""",
}
"""The headers that the source includes. The target has no C library, and the module imports nothing."""


class Wasm(Format):
    """A WebAssembly module with the functions of format ``c``. Options: none.

    It has no imports. It exports its memory, ``__heap_base`` (the address from where on the memory is free), and the
    functions ``NAME_state_size``, ``NAME_initial_state``, ``NAME_step``, ``NAME_run``, ``NAME_step_events``,
    ``NAME_load_state``, ``NAME_store_state``, ``NAME_set_weights`` and, for weights that are normalised,
    ``NAME_normalise``. Pointers have 4 bytes. The contract is its custom section ``deploy_snn.contract``, in JSON.
    """

    files: ClassVar[dict[str, str]] = {MODULE: "WebAssembly module of the model"}

    def write(self, lowered: Lowered, folder: Path) -> dict[str, Any]:
        compiled = c_source(lowered, header_name=HEADER)
        module = build_module(compiled, functions_of(compiled, has_states=bool(lowered.contract.states)))
        contract = lowered.contract.model_dump_json().encode()
        (folder / MODULE).write_bytes(add_section(module, CONTRACT_KEY, contract))
        if compiled.weights:
            (folder / WEIGHTS).write_bytes(compiled.weights)
        return {"prefix": compiled.prefix, "weights": WEIGHTS if compiled.weights else ""}


def functions_of(compiled: CSource, *, has_states: bool) -> list[str]:
    """The names of the functions to export."""
    names = ["state_size", "initial_state", "step", "run", "step_events"]
    names += ["load_state", "store_state"] if has_states else []
    names += ["normalise"] if compiled.normalises else []
    names += ["set_weights"] if compiled.weights else []
    return [f"{compiled.prefix}_{name}" for name in names]


def build_module(compiled: CSource, functions: list[str]) -> bytes:
    """Compile and link a module that exports these functions. Raises Unavailable if zig is missing or fails."""
    zig = find_zig()
    if zig is None:
        raise Unavailable(
            "format wasm needs the package ziglang: install the extra 'wasm' of deploy-snn (README.md, Install)"
        )
    with tempfile.TemporaryDirectory() as name:
        build = Path(name)
        (build / HEADER).write_text(compiled.header)
        (build / SOURCE).write_text(compiled.source)
        (build / "include").mkdir()
        for header, text in HEADERS.items():
            (build / "include" / header).write_text(text)
        exports = [f"-Wl,--export={symbol}" for symbol in (*functions, "__heap_base")]
        command = [*zig.command, *FLAGS, *TARGET, f"-Wl,-z,stack-size={STACK}", *exports, SOURCE, "-o", MODULE]
        compile_in(build, command)
        return (build / MODULE).read_bytes()
