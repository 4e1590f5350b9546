"""TorchScript with the compiled step as operators of torch, in a library that is built here."""

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from deploy_snn.bundle import Bundle
from deploy_snn.errors import InvalidInput, first_line
from deploy_snn.runtimes.operator_library import operator_library
from deploy_snn.runtimes.torchscript import TorchScript
from deploy_snn.torch_internals import load_operators

MODEL = "model.custom.pt"
SOURCE = "model.custom.c"
FORMAT = "torchscript-custom"


class TorchScriptCustom(TorchScript):
    """Runs ``model.custom.pt`` with the library of ``model.custom.c``."""

    files: ClassVar[tuple[str, ...]] = (MODEL, SOURCE)

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        section = bundle.manifest.formats.get(FORMAT, {})
        namespace, operators, weights = (section.get(key) for key in ("namespace", "operators", "weights"))
        if not isinstance(namespace, str) or not isinstance(operators, list) or not isinstance(weights, str):
            raise InvalidInput(f"{bundle.path}: the manifest has no valid section '{FORMAT}': export the model again")
        library = operator_library(bundle, SOURCE, weights, link_flags())
        try:
            load_operators(library, namespace, operators)
        except LookupError as error:
            raise InvalidInput(
                f"{bundle.file(SOURCE)} has no operator {error.args[0]}: it is the source of another model"
            ) from None
        except OSError as error:
            raise InvalidInput(f"the library of {bundle.file(SOURCE)} cannot be loaded: {first_line(error)}") from None


def link_flags() -> tuple[str, ...]:
    """The flags to link a library with libtorch, which throws its errors through the functions of the library."""
    spec = find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    return ("-fexceptions", "-Wl,--no-as-needed", f"-L{Path(spec.origin).parent / 'lib'}", "-ltorch_cpu")
