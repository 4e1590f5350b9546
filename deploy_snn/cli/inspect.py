"""``deploy-snn inspect``: show the contents of a bundle or of a single file."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy_snn.cli.import_file import print_notes
from deploy_snn.cli.table import console, size, table
from deploy_snn.contract import CONTRACT_FILE, CONTRACT_KEY, Contract
from deploy_snn.errors import InvalidInput

if TYPE_CHECKING:
    from rich.console import Console


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE|BUNDLE", help="A bundle, or an .onnx, .pt or .pt2 file.")],
) -> None:
    """Show the contract, the files, the graphs and the versions of a bundle, or of one file."""
    out = console()
    if path.is_dir():
        _bundle(path, out)
    elif not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    elif path.suffix == ".onnx":
        _contract(_onnx(path, out), out)
    elif path.suffix in (".pt", ".pt2"):
        _contract(_archive(path, out), out)
    else:
        raise InvalidInput(f"{path} cannot be inspected; expected a bundle, or an .onnx, .pt or .pt2 file")


def _bundle(path: Path, out: "Console") -> None:
    from deploy_snn.bundle import Bundle

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    out.print(f"{manifest.name}: {manifest.source.kind} {manifest.source.name}, dt {bundle.contract.dt:g} ms", style="bold")
    if manifest.source.options:
        out.print(f"options: {manifest.source.options}")
    print_notes(manifest.source, out)
    golden = manifest.golden
    out.print(f"golden: {golden.steps} steps of {golden.stimulus}, batch {golden.batch}" if golden else "golden: none")
    out.print("written by: " + ", ".join(f"{name} {version}" for name, version in manifest.written_by.items()))
    files = ((name, size(file.bytes), file.sha256[:12]) for name, file in manifest.files.items())
    out.print(table("Files (checksums match)", ["file", "size", "SHA-256"], files, right=["size"]))
    _contract(bundle.contract, out)
    if manifest.parameters:
        rows = ((name, str(parameter)) for name, parameter in manifest.parameters.items())
        out.print(table("Parameters", ["name", "value"], rows))
    if "c" in manifest.formats:
        _compiled(manifest.formats["c"], out)
    for name in manifest.files:
        if name.endswith(".onnx"):
            _onnx(path / name, out)
    if manifest.plan:
        out.print("Order of computation over a sequence:")
        out.print("\n".join(f"  {number}. {component}" for number, component in enumerate(manifest.plan, 1)))


def _compiled(section: dict[str, Any], out: "Console") -> None:
    """Show how the C source holds the parameters: weights on a dyadic grid are integers with a scale."""
    if "refused" in section:
        out.print(section["refused"])
        return
    rows = (
        (
            entry["name"],
            entry["type"],
            f"{entry['elements']:,}",
            size(entry["bytes"]),
            f"{entry['scale']:g}" if "scale" in entry else "",
        )
        for entry in section.get("parameters", [])
    )
    columns = ["name", "type", "elements", "size", "scale"]
    title = f"C: functions {section['prefix']}_..., {size(section['scratch_bytes'])} of scratch memory; parameters"
    out.print(table(title, columns, rows, right=columns[2:]))


def _contract(contract: Contract | None, out: "Console") -> None:
    if contract is None:
        out.print("The file has no contract: it was not written by deploy-snn.")
        return
    columns = ["role", "name", "kind", "type", "axes", "initial", "unit"]
    rows = (
        [spec.role, spec.name, spec.kind or "", spec.dtype, ", ".join(map(str, spec.axes)), spec.initial, spec.unit]
        for spec in contract.tensors
    )
    out.print(table(f"Contract, version {contract.contract_version}: one step of {contract.dt:g} ms", columns, rows))
    if contract.rounding:
        out.print(f"Last bits may differ between runtimes: {', '.join(map(str, contract.rounding))}")


def _onnx(path: Path, out: "Console") -> Contract | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise InvalidInput(f"{path} is not a valid ONNX file: {str(error).strip().partition(chr(10))[0]}") from None
    graph = model.graph
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    bodies = [a.g for node in graph.node for a in node.attribute if a.name == "body"]
    counts = Counter(node.op_type for node in graph.node)
    out.print(f"{path.name}: opset {opsets}; IR version {model.ir_version}; {size(path.stat().st_size)}")
    out.print(f"{len(graph.node)} nodes: " + ", ".join(f"{count} {op}" for op, count in counts.most_common()))
    for body in bodies:
        inside = Counter(node.op_type for node in body.node)
        out.print(f"  in a Scan {len(body.node)}: " + ", ".join(f"{count} {op}" for op, count in inside.most_common()))
    out.print(f"{len(graph.initializer)} constants: " + ", ".join(constant.name for constant in graph.initializer))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return Contract.parse(metadata[CONTRACT_KEY], str(path)) if CONTRACT_KEY in metadata else None


def _archive(path: Path, out: "Console") -> Contract | None:
    """Read a TorchScript or torch.export file as a zip archive, without running or unpickling its contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inside = [name for name in names if name.endswith(f"extra/{CONTRACT_FILE}")]
            text = archive.read(inside[0]) if inside else None
            code = [name for name in names if name.endswith(".py")]
    except zipfile.BadZipFile:
        raise InvalidInput(f"{path} is not a TorchScript or torch.export file: it is not a zip archive") from None
    out.print(f"{path.name}: {size(path.stat().st_size)}, {len(names)} entries, {len(code)} of code")
    return Contract.parse(text, str(path)) if text else None
