"""``deploy-snn inspect``: show the contents of a bundle or of a single file."""

import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy_snn.cli.import_file import print_notes
from deploy_snn.cli.json_file import JsonFile, write_json
from deploy_snn.cli.table import console, count, size, table
from deploy_snn.contract import CONTRACT_FILE, CONTRACT_KEY, Contract
from deploy_snn.errors import InvalidInput, first_line

if TYPE_CHECKING:
    from rich.console import Console

    from deploy_snn.bundle import Bundle


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE|BUNDLE", help="A bundle, or an .onnx, .pt or .pt2 file.")],
    *,
    json_file: JsonFile = None,
) -> None:
    """Show the contract, the files, the graphs and the versions of a bundle, or of one file."""
    from deploy_snn.bundle import Bundle

    if path.is_dir():
        bundle = Bundle.open(path)
        graphs = [_onnx(path / name) for name in bundle.manifest.files if name.endswith(".onnx")]
        if json_file is not None:
            files = [{key: value for key, value in graph.items() if key != "contract"} for graph in graphs]
            write_json(json_file, bundle.manifest.model_dump(mode="json") | {"graphs": files})
        else:
            _bundle(bundle, graphs, console())
        return
    if not path.is_file():
        raise InvalidInput(f"{path} does not exist")
    if path.suffix == ".onnx":
        record = _onnx(path)
    elif path.suffix in (".pt", ".pt2"):
        record = _archive(path)
    else:
        raise InvalidInput(f"{path} cannot be inspected; expected a bundle, or an .onnx, .pt or .pt2 file")
    if json_file is not None:
        contract = record["contract"]
        write_json(json_file, record | {"contract": None if contract is None else contract.model_dump(mode="json")})
        return
    (_print_onnx if path.suffix == ".onnx" else _print_archive)(record, console())
    _contract(record["contract"], console())


def _bundle(bundle: "Bundle", graphs: list[dict[str, Any]], out: "Console") -> None:
    manifest = bundle.manifest
    out.print(f"{manifest.name}: {manifest.source.kind} {manifest.source.name}, dt {bundle.contract.dt:g} ms", style="bold")
    if manifest.source.options:
        out.print(f"options: {manifest.source.options}")
    print_notes(manifest.source, out)
    golden = manifest.golden
    out.print(
        f"golden: {count(golden.steps, 'step')} of {golden.stimulus}, batch {golden.batch}" if golden else "golden: none"
    )
    out.print("written by: " + ", ".join(f"{name} {version}" for name, version in manifest.written_by.items()))
    files = ((name, size(file.bytes), file.sha256[:12]) for name, file in manifest.files.items())
    out.print(table("Files (checksums match)", ["file", "size", "SHA-256"], files, right=["size"]))
    _contract(bundle.contract, out)
    if manifest.parameters:
        rows = ((name, str(parameter)) for name, parameter in manifest.parameters.items())
        out.print(table("Parameters", ["name", "value"], rows))
    if "c" in manifest.formats:
        _compiled(manifest.formats["c"], out)
    for name in ("executorch", "executorch-xnnpack"):
        if name in manifest.formats:
            _bounded(name, manifest.formats[name], out)
    for graph in graphs:
        _print_onnx(graph, out)
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


def _bounded(name: str, section: dict[str, Any], out: "Console") -> None:
    """Show the batches and numbers of steps that an ExecuTorch program has memory for."""
    out.print(
        f"{name} {section['executorch']}: step with a batch of 1 to {section['max_batch']}; "
        f"sequence with a batch of {section['sequence_batch']}, 1 to {section['max_steps']} steps"
    )


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


def _onnx(path: Path) -> dict[str, Any]:
    """The operators, the constants and the contract of an ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise InvalidInput(f"{path} is not a valid ONNX file: {first_line(error)}") from None
    graph = model.graph
    bodies = [a.g for node in graph.node for a in node.attribute if a.name == "body"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "ir_version": model.ir_version,
        "nodes": dict(Counter(node.op_type for node in graph.node).most_common()),
        "scans": [dict(Counter(node.op_type for node in body.node).most_common()) for body in bodies],
        "constants": [constant.name for constant in graph.initializer],
        "contract": Contract.parse(metadata[CONTRACT_KEY], str(path)) if CONTRACT_KEY in metadata else None,
    }


def _print_onnx(graph: dict[str, Any], out: "Console") -> None:
    opsets = ", ".join(f"{domain} {version}" for domain, version in graph["opsets"].items())
    out.print(f"{graph['file']}: opset {opsets}; IR version {graph['ir_version']}; {size(graph['bytes'])}")
    out.print(f"{count(sum(graph['nodes'].values()), 'node')}: {_operators(graph['nodes'])}")
    for inside in graph["scans"]:
        out.print(f"  in a Scan {sum(inside.values())}: {_operators(inside)}")
    out.print(f"{count(len(graph['constants']), 'constant')}: {', '.join(graph['constants'])}")


def _operators(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {operator}" for operator, number in counts.items())


def _archive(path: Path) -> dict[str, Any]:
    """Read a TorchScript or torch.export file as a zip archive, without running or unpickling its contents."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inside = [name for name in names if name.endswith(f"extra/{CONTRACT_FILE}")]
            text = archive.read(inside[0]) if inside else None
    except zipfile.BadZipFile:
        raise InvalidInput(f"{path} is not a TorchScript or torch.export file: it is not a zip archive") from None
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "entries": len(names),
        "code": sum(name.endswith(".py") for name in names),
        "contract": Contract.parse(text, str(path)) if text else None,
    }


def _print_archive(archive: dict[str, Any], out: "Console") -> None:
    entries = "entry" if archive["entries"] == 1 else "entries"
    out.print(f"{archive['file']}: {size(archive['bytes'])}, {archive['entries']} {entries}, {archive['code']} of code")
