"""The registries: neurons, connections, learning rules, formats, runtimes, stimuli, importers and frameworks by name.

To add one, write a new file and add one line here. An entry is imported only when it is used, so that ``deploy-snn list``
runs without torch.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Generic, TypeVar

from deploy_snn.errors import InvalidInput

T = TypeVar("T")


def unknown(noun: str, name: str, names: Collection[str]) -> InvalidInput:
    """The error for an unknown name: the names to choose from, and the nearest of them last."""
    nearest = get_close_matches(name, names, 1)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    return InvalidInput(f"unknown {noun} '{name}'; choose from {', '.join(names)}{hint}")


@dataclass(frozen=True)
class Entry:
    """The location of a class or function, as ``module:name``, and one line about it for people.

    ``needs`` are the packages that it requires. ``on_request`` says that a format is not exported, and a runtime not
    compared, unless it is named. ``cuda`` says that a runtime needs CUDA.
    """

    place: str
    about: str
    needs: tuple[str, ...] = ()
    on_request: bool = False
    cuda: bool = False

    @property
    def attribute(self) -> str:
        """The name of the class or function."""
        return self.place.partition(":")[2]

    def load(self) -> Any:
        """Import the class or function."""
        module, _, attribute = self.place.partition(":")
        return getattr(import_module(module), attribute)


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name; ``registry[name]`` imports the entry."""

    def __init__(self, noun: str, entries: dict[str, Entry]) -> None:
        self.noun = noun
        self.entries = entries

    def __getitem__(self, name: str) -> T:
        loaded: T = self.entries[name].load()
        return loaded

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def entry(self, name: str) -> Entry:
        """An entry, without importing it. Raises InvalidInput, with the names to choose from."""
        if name not in self.entries:
            raise unknown(self.noun, name, self.entries)
        return self.entries[name]

    def by_attribute(self, attribute: str) -> T | None:
        """Look up an entry by the name of its class or function, such as ``LIFNodes``; None if it is not registered."""
        name = next((name for name, entry in self.entries.items() if entry.attribute == attribute), None)
        return None if name is None else self[name]

    def missing_package(self, name: str) -> str | None:
        """The first required package of an entry that is not installed here, or None."""
        return next((package for package in self.entry(name).needs if find_spec(package) is None), None)


NEURONS: Registry[Any] = Registry(
    "neuron",
    {
        "input": Entry("deploy_snn.neurons.stateless:Input", "A source of spikes from outside."),
        "mcculloch-pitts": Entry("deploy_snn.neurons.stateless:McCullochPitts", "A threshold unit without a state."),
        "if": Entry("deploy_snn.neurons.integrate_and_fire:IFNodes", "Integrate and fire, without leak."),
        "lif": Entry("deploy_snn.neurons.leaky:LIFNodes", "Leaky integrate-and-fire."),
        "boosted-lif": Entry("deploy_snn.neurons.leaky:BoostedLIFNodes", "LIF with rest and reset at 0."),
        "current-lif": Entry("deploy_snn.neurons.leaky:CurrentLIFNodes", "LIF with a decaying synaptic current."),
        "adaptive-lif": Entry("deploy_snn.neurons.adaptive:AdaptiveLIFNodes", "LIF with an adaptive threshold."),
        "diehl-and-cook": Entry("deploy_snn.neurons.adaptive:DiehlAndCookNodes", "Adaptive LIF, winner takes all."),
        "izhikevich": Entry("deploy_snn.neurons.izhikevich:IzhikevichNodes", "Izhikevich's simple model."),
        "csrm": Entry("deploy_snn.neurons.csrm:CSRMNodes", "Cumulative spike response model."),
        "srm0": Entry("deploy_snn.neurons.srm0:SRM0Nodes", "Simplified spike response model with escape noise."),
        "subtractive-reset-if": Entry(
            "deploy_snn.neurons.subtractive:SubtractiveResetIFNodes", "Integrate and fire with reset by subtraction."
        ),
        "heaviside": Entry(
            "deploy_snn.neurons.discrete:Heaviside", "A threshold unit that fires only above its threshold."
        ),
        "difference-lif": Entry("deploy_snn.neurons.discrete:DifferenceLIFNodes", "LIF as a difference equation."),
        "difference-current-lif": Entry(
            "deploy_snn.neurons.discrete:DifferenceCurrentLIFNodes",
            "LIF with a synaptic current, as a difference equation.",
        ),
    },
)
"""The neuron classes that spike."""

GRADED_NEURONS: Registry[Any] = Registry(
    "graded neuron",
    {
        "relay": Entry("deploy_snn.neurons.graded:Relay", "Outputs its drive."),
        "delay-line": Entry("deploy_snn.neurons.graded:DelayLine", "Outputs its drive some steps later."),
        "integrator": Entry("deploy_snn.neurons.graded:Integrator", "A membrane without a threshold."),
        "current-integrator": Entry(
            "deploy_snn.neurons.graded:CurrentIntegrator", "An integrator with a synaptic current."
        ),
    },
)
"""The classes that send numbers instead of spikes."""

CONNECTIONS: Registry[Any] = Registry(
    "connection",
    {
        "dense": Entry("deploy_snn.network.connection:Dense", "All to all."),
        "sparse": Entry("deploy_snn.network.sparse:Sparse", "A sparse weight matrix."),
        "stochastic-dense": Entry(
            "deploy_snn.network.stochastic:StochasticDense", "All to all, with synapses that transmit at random."
        ),
        "one-to-one": Entry("deploy_snn.network.connection:OneToOne", "Each neuron to its counterpart."),
        "lateral": Entry("deploy_snn.network.connection:Lateral", "The same weight to all others."),
        "mean-field": Entry("deploy_snn.network.connection:MeanField", "The mean of the source."),
        "reshape": Entry("deploy_snn.network.connection:Reshape", "The same values in another shape."),
        "conv1d": Entry("deploy_snn.network.convolution:Conv1d", "A convolution over [C, L]."),
        "conv2d": Entry("deploy_snn.network.convolution:Conv2d", "A convolution over [C, H, W]."),
        "conv3d": Entry("deploy_snn.network.convolution:Conv3d", "A convolution over [C, D, H, W]."),
        "max-pool1d": Entry("deploy_snn.network.pooling:MaxPool1d", "Spiking max pooling over [C, L]."),
        "max-pool2d": Entry("deploy_snn.network.pooling:MaxPool2d", "Spiking max pooling over [C, H, W]."),
        "max-pool3d": Entry("deploy_snn.network.pooling:MaxPool3d", "Spiking max pooling over [C, D, H, W]."),
        "sum-pool2d": Entry("deploy_snn.network.sum_pooling:SumPool2d", "The sum of each field."),
        "avg-pool2d": Entry("deploy_snn.network.sum_pooling:AvgPool2d", "The mean of each field."),
        "local1d": Entry("deploy_snn.network.local:LocalConnection1d", "Local receptive fields over [C, L]."),
        "local2d": Entry("deploy_snn.network.local:LocalConnection2d", "Local receptive fields over [C, H, W]."),
        "local3d": Entry("deploy_snn.network.local:LocalConnection3d", "Local receptive fields over [C, D, H, W]."),
    },
)

RULES: Registry[Any] = Registry(
    "learning rule",
    {
        "post-pre": Entry("deploy_snn.learning.post_pre:PostPre", "STDP with traces."),
        "weight-dependent-post-pre": Entry(
            "deploy_snn.learning.weight_dependent:WeightDependentPostPre", "STDP with soft limits."
        ),
        "hebbian": Entry("deploy_snn.learning.hebbian:Hebbian", "Pairs of spikes raise the weight."),
        "diehl-and-cook": Entry(
            "deploy_snn.learning.diehl_and_cook:DiehlAndCook", "Target spikes move the weight by the source's trace."
        ),
        "mstdp": Entry("deploy_snn.learning.mstdp:MSTDP", "STDP modulated by a reward."),
        "mstdpet": Entry("deploy_snn.learning.mstdpet:MSTDPET", "STDP modulated by a reward, with an eligibility trace."),
        "rmax": Entry("deploy_snn.learning.rmax:Rmax", "Reward maximisation for targets with escape noise."),
    },
)
"""The learning rules of connections."""

FORMATS: Registry[Any] = Registry(
    "format",
    {
        "onnx": Entry("deploy_snn.formats.onnx:Onnx", "ONNX: step.onnx for a step, sequence.onnx for a whole run."),
        "torchscript": Entry("deploy_snn.formats.torchscript:TorchScript", "TorchScript: model.pt, for steps and runs."),
        "pt2": Entry("deploy_snn.formats.pt2:Pt2", "torch.export: model.pt2 for a step, sequence.pt2 for a whole run."),
        "c": Entry("deploy_snn.formats.c:C", "C99 without dependencies: model.h and model.c, for steps and runs."),
        "onnx-custom": Entry(
            "deploy_snn.formats.onnx_custom:OnnxCustom",
            "ONNX with the compiled step as one operator: step.custom.onnx. Not exported by default.",
            on_request=True,
        ),
        "wasm": Entry(
            "deploy_snn.formats.wasm:Wasm",
            "WebAssembly with SIMD: model.wasm, for steps and runs. Not exported by default.",
            on_request=True,
        ),
        "aoti": Entry(
            "deploy_snn.formats.aoti:Aoti",
            "AOTInductor: step.aoti.pt2, a step compiled for this kind of CPU. Not exported by default.",
            on_request=True,
        ),
        "executorch": Entry(
            "deploy_snn.formats.executorch:Executorch",
            "ExecuTorch: model.pte with a step and a run, batch and time bounded. Not exported by default.",
            on_request=True,
        ),
        "executorch-xnnpack": Entry(
            "deploy_snn.formats.executorch:ExecutorchXnnpack",
            "ExecuTorch with XNNPACK: model.xnnpack.pte. Not exported by default.",
            on_request=True,
        ),
    },
)

RUNTIMES: Registry[Any] = Registry(
    "runtime",
    {
        "eager": Entry("deploy_snn.runtimes.eager:Eager", "The torch modules, rebuilt from the manifest.", ("torch",)),
        "torchscript": Entry(
            "deploy_snn.runtimes.torchscript:TorchScript", "libtorch's TorchScript interpreter.", ("torch",)
        ),
        "pt2": Entry("deploy_snn.runtimes.pt2:ExportedProgram", "A torch.export program, run by torch.", ("torch",)),
        "aoti": Entry("deploy_snn.runtimes.aoti:AotInductor", "A step compiled by AOTInductor.", ("torch",)),
        "eager-cuda": Entry(
            "deploy_snn.runtimes.eager:EagerCuda", "The torch modules on CUDA (no TF32).", ("torch",), cuda=True
        ),
        "torchscript-cuda": Entry(
            "deploy_snn.runtimes.torchscript:TorchScriptCuda", "TorchScript on CUDA (no TF32).", ("torch",), cuda=True
        ),
        "pt2-cuda": Entry(
            "deploy_snn.runtimes.pt2:ExportedProgramCuda",
            "A torch.export program on CUDA (no TF32).",
            ("torch",),
            cuda=True,
        ),
        "c": Entry("deploy_snn.runtimes.c:CompiledC", "Compiled C, built by this machine's C compiler."),
        "wasm": Entry("deploy_snn.runtimes.wasm:WebAssembly", "WebAssembly, run by Wasmtime.", ("wasmtime",)),
        "onnxruntime-cpu": Entry(
            "deploy_snn.runtimes.onnxruntime:OnnxRuntimeCpu", "ONNX Runtime, CPU provider.", ("onnxruntime",)
        ),
        "onnxruntime-custom": Entry(
            "deploy_snn.runtimes.onnxruntime_custom:OnnxRuntimeCustom",
            "ONNX Runtime, CPU provider, with the compiled step as one operator.",
            ("onnxruntime",),
        ),
        "onnxruntime-cuda": Entry(
            "deploy_snn.runtimes.onnxruntime_cuda:OnnxRuntimeCuda",
            "ONNX Runtime, CUDA provider (no TF32).",
            ("onnxruntime",),
            cuda=True,
        ),
        "onnxruntime-cuda-graph": Entry(
            "deploy_snn.runtimes.onnxruntime_cuda_graph:OnnxRuntimeCudaGraph",
            "ONNX Runtime, CUDA provider, with each step replayed as one CUDA graph.",
            ("onnxruntime",),
            cuda=True,
        ),
        "onnx-reference": Entry(
            "deploy_snn.runtimes.onnx_reference:OnnxReference", "onnx's ReferenceEvaluator, in numpy.", ("onnx",)
        ),
        "executorch": Entry(
            "deploy_snn.runtimes.executorch:Executorch", "ExecuTorch, portable kernels.", ("torch", "executorch")
        ),
        "executorch-xnnpack": Entry(
            "deploy_snn.runtimes.executorch:ExecutorchXnnpack", "ExecuTorch, XNNPACK.", ("torch", "executorch")
        ),
        "openvino": Entry(
            "deploy_snn.runtimes.openvino:OpenVino",
            "OpenVINO on the CPU, in float32, with the parameters as inputs.",
            ("onnx", "openvino"),
        ),
        "openvino-default": Entry(
            "deploy_snn.runtimes.openvino:OpenVinoDefault", "OpenVINO as it comes.", ("onnx", "openvino"), on_request=True
        ),
        "iree": Entry("deploy_snn.runtimes.iree:Iree", "IREE on the CPU, without fused multiply-add.", ("onnx", "iree")),
        "iree-host": Entry(
            "deploy_snn.runtimes.iree:IreeHost", "IREE compiled for this machine's CPU.", ("onnx", "iree"), on_request=True
        ),
        "mnn": Entry(
            "deploy_snn.runtimes.mnn:Mnn", "MNN on the CPU, in high precision, without its Less.", ("onnx", "MNN")
        ),
        "mnn-default": Entry("deploy_snn.runtimes.mnn:MnnDefault", "MNN as it comes.", ("onnx", "MNN"), on_request=True),
        "litert": Entry("deploy_snn.runtimes.litert:LiteRt", "LiteRT on the CPU.", ("onnx", "ai_edge_litert")),
    },
)

STIMULI: Registry[Any] = Registry(
    "stimulus",
    {
        "poisson": Entry(
            "deploy_snn.parity.stimulus:poisson", "Independent random spikes, with a different rate for each neuron."
        ),
        "constant": Entry("deploy_snn.parity.stimulus:constant", "A constant level for each neuron."),
        "ramp": Entry("deploy_snn.parity.stimulus:ramp", "A linear rise from 0 to a level for each neuron."),
        "digits": Entry("deploy_snn.parity.digits:digit_spikes", "Handwritten digits, Poisson-encoded.", ("sklearn",)),
    },
)
"""The patterns of a drive over time. ``parity`` also takes ``threshold``, ``denormal``, ``signed-zero`` and ``golden``."""

IMPORTERS: Registry[Any] = Registry(
    "importer",
    {
        "bindsnet": Entry("deploy_snn.importers.bindsnet:BindsNet", "A network saved by BindsNET's Network.save (.pt)."),
        "nir": Entry("deploy_snn.importers.nir:Nir", "A NIR graph (.nir), written by snnTorch, Norse and others."),
    },
)

FRAMEWORKS: Registry[Any] = Registry(
    "framework",
    {
        "torch": Entry("deploy_snn.importers.torch_modules.torch_layers:part_of", "Layers in an nn.Sequential."),
        "snntorch": Entry("deploy_snn.importers.torch_modules.snntorch_neurons:part_of", "Leaky, Synaptic."),
        "spikingjelly": Entry("deploy_snn.importers.torch_modules.spikingjelly_nodes:part_of", "IFNode, LIFNode, layers."),
        "norse": Entry("deploy_snn.importers.torch_modules.norse_cells:part_of", "LIFBoxCell, LIFCell, IAFCell."),
    },
)
"""The packages whose live modules can be read, by the name of the package; none of them is imported."""
