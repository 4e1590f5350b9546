"""Turn a bundle with format c into a library for the Arduino IDE and PlatformIO: ``python arduino.py BUNDLE FOLDER``.

FOLDER then contains ``library.properties``, ``library.json``, the model in ``src/`` and a sketch in ``examples/``. Copy it
into the ``libraries`` folder of your sketches, or into ``lib`` of a PlatformIO project. Needs Python only.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

NO_CONTRACTION = """\
/* Without fused multiply-add the results are bit-equal to torch, with any compiler flags of the board. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize ("fp-contract=off")
#endif

"""


def main() -> int:
    """Write the library. End with status 2 if the bundle has no format c, or if the folder exists already."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        write_library(arguments.bundle, arguments.folder)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"arduino.py: {error}\n")
        return 2
    return 0


def write_library(bundle: Path, folder: Path) -> None:
    """Write the library of a bundle into a new folder. Raises ValueError for a bundle that has none."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    section = manifest["formats"].get("c", {})
    if "prefix" not in section:
        raise ValueError(f"{bundle} has no files of format c: export the model with it")
    if section["weights"]:
        size = manifest["files"][section["weights"]]["bytes"]
        raise ValueError(
            f"{bundle} has {size} bytes of weights in a file, too many for a sketch: make the model smaller, "
            "or snap its weights to 7 bits, which stores them as bytes"
        )
    name = section["prefix"]
    header, source = (bundle / "model.h").read_text(), (bundle / "model.c").read_text()
    files = {
        f"src/{name}.h": header,
        f"src/{name}.c": NO_CONTRACTION + source.replace('#include "model.h"', f'#include "{name}.h"', 1),
        f"examples/{name}_steps/{name}_steps.ino": sketch(name, header, manifest["contract"]),
        "library.properties": "".join(f"{key}={value}\n" for key, value in properties(name).items()),
        "library.json": json.dumps(platformio(name), indent=2) + "\n",
    }
    folder.mkdir(parents=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def properties(name: str) -> dict[str, str]:
    """The fields of library.properties (Arduino's library specification, revision 2.2)."""
    return {
        "name": name,
        "version": "1.0.0",
        "author": "deploy-snn",
        "maintainer": "deploy-snn",
        "sentence": f"The spiking neural network {name}.",
        "paragraph": "Compiled to C by deploy-snn.",
        "category": "Data Processing",
        "url": "https://example.org",
        "architectures": "*",
        "includes": f"{name}.h",
    }


def platformio(name: str) -> dict[str, Any]:
    """The content of library.json (PlatformIO's library manifest)."""
    return {
        "name": name,
        "version": "1.0.0",
        "description": f"The spiking neural network {name}, compiled to C by deploy-snn.",
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{name}.h",
        "build": {"flags": ["-ffp-contract=off"]},
    }


def members(header: str, struct: str) -> list[str]:
    """The names of the members of a struct of pointers."""
    body = re.search(r"typedef struct \{\n([^}]*)\} " + re.escape(struct) + ";", header)
    return re.findall(r"\*(\w+);", body[1]) if body else []


def sketch(name: str, header: str, contract: dict[str, Any]) -> str:
    """A sketch that checks the model, if its check is compiled in, and then runs a step for each dt."""
    inputs, outputs = members(header, f"{name}_inputs"), members(header, f"{name}_outputs")
    roles = [tensor["role"] for tensor in contract["tensors"] if tensor["role"] in ("drive", "noise", "reward")]
    kinds = {output: kind for kind, output in re.findall(r"    (float|uint8_t) \*(\w+);", header)}
    has_check = f"int32_t {name}_check(" in header
    lines = [
        f"// Steps of the model {name}. Replace what is in loop() by your sensors and motors.",
        f"#include <{name}.h>",
        "",
        *(
            [f"static {name}_check_memory memory;", f"static {name}_state &state = memory.state;"]
            if has_check
            else [f"static {name}_state state;"]
        ),
        *(f"static float input_{array}[{name}_size_{array}];" for array in inputs),
        *(f"static {kinds[array]} output_{array}[{name}_size_{array}];" for array in outputs),
        "",
        "void setup() {",
        "  Serial.begin(115200);",
    ]
    if has_check:
        lines += [
            f"  const long differs = {name}_check(&memory);",
            "  if (differs == 0) {",
            f'    Serial.println("{name}: equal to torch");',
            "  } else {",
            f'    Serial.print("{name}: differs from torch at step ");',
            "    Serial.println(differs);",
            "  }",
        ]
    lines += [f"  {name}_initial_state(&state);", "}", "", "void loop() {"]
    for array, role in zip(inputs, roles, strict=True):
        value = "random(0x1000000L) / 16777216.0f" if role == "noise" else "analogRead(A0) / 1023.0f"
        lines += [
            f"  for (int i = 0; i < {name}_size_{array}; i++) {{",
            f"    input_{array}[i] = {value};",
            "  }",
        ]
    lines += [
        f"  const {name}_inputs inputs = {{{', '.join(f'input_{array}' for array in inputs)}}};",
        f"  const {name}_outputs outputs = {{{', '.join(f'output_{array}' for array in outputs)}}};",
        f"  {name}_step(&state, &inputs, &outputs);",
        f"  for (int i = 0; i < {name}_size_{outputs[0]}; i++) {{",
        f"    Serial.print(output_{outputs[0]}[i]);",
        "  }",
        "  Serial.println();",
        f"  delay({max(1, round(contract['dt']))});  // ms: dt of the model",
        "}",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
