"""Where the headers of ONNX Runtime are, which no wheel contains: in the folder that ``$ONNXRUNTIME_INCLUDE_DIR`` names."""

import os
from pathlib import Path

from deploy_snn.errors import Unavailable

VARIABLE = "ONNXRUNTIME_INCLUDE_DIR"
HEADER = "onnxruntime_c_api.h"
MISSING = f"set {VARIABLE} to the folder with {HEADER} (serve/cpp/headers.sh downloads it)"


def find_ort_headers() -> Path | None:
    """The folder of the headers, or None."""
    given = os.environ.get(VARIABLE, "")
    return Path(given).absolute() if given and (Path(given) / HEADER).is_file() else None


def ort_headers() -> Path:
    """The folder of the headers. Raises Unavailable if it is not known."""
    found = find_ort_headers()
    if found is None:
        raise Unavailable(f"the headers of ONNX Runtime were not found: {MISSING}")
    return found
