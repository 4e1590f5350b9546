// ONNX Runtime: everything that a step reads and writes is bound once. The state has two sets of buffers; each step
// reads one and writes the other. So a step of this host allocates nothing and copies nothing. On a CUDA device the
// state stays in the device's memory, and a step copies its inputs and outputs.
#include <array>
#include <cstring>
#include <optional>
#include <regex>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

#include "cuda_copy.hpp"
#include "ort_library.hpp"

namespace deploy_snn {

namespace {

constexpr auto kContractKey = "deploy_snn.contract";
constexpr auto kNext = "next.";  // state `v` leaves a graph as `next.v`

ONNXTensorElementDataType type_of(DType dtype) {
  return dtype == DType::float32 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
}

// A value that refers to our memory, which must outlive it.
Ort::Value view_of(const Tensor& tensor) {
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  return Ort::Value::CreateTensor(memory, const_cast<std::byte*>(tensor.data.data()), tensor.data.size(),
                                  tensor.shape.data(), tensor.shape.size(), type_of(tensor.dtype));
}

Ort::SessionOptions session_options(const Options& options) {
  Ort::SessionOptions settings;
  settings.SetIntraOpNumThreads(options.threads);
  settings.SetInterOpNumThreads(1);
  if (!options.operators.empty())
    settings.RegisterCustomOpsLibrary(std::filesystem::absolute(options.operators).c_str());
  if (options.device == "cuda") {
    const auto& api = Ort::GetApi();
    OrtCUDAProviderOptionsV2* cuda = nullptr;
    Ort::ThrowOnError(api.CreateCUDAProviderOptions(&cuda));
    const std::unique_ptr<OrtCUDAProviderOptionsV2, void (*)(OrtCUDAProviderOptionsV2*)> owner(
        cuda, api.ReleaseCUDAProviderOptions);
    const char* key = "use_tf32";  // TF32 would round products differently from every other runtime
    const char* value = "0";
    Ort::ThrowOnError(api.UpdateCUDAProviderOptions(cuda, &key, &value, 1));
    settings.AppendExecutionProvider_CUDA_V2(*cuda);
  } else if (options.device != "cpu") {
    throw InvalidInput("unknown device '" + options.device + "'; choose from cpu, cuda");
  }
  return settings;
}

Contract contract_in(const Ort::Session& session, const std::filesystem::path& path) {
  Ort::AllocatorWithDefaultOptions allocator;
  const auto text = session.GetModelMetadata().LookupCustomMetadataMapAllocated(kContractKey, allocator);
  if (!text) throw InvalidInput(path.string() + " has no contract: deploy-snn did not write it");
  return Contract::parse(text.get(), path.string());
}

// The cause in an error of ONNX Runtime, without its source locations.
std::string cause(const Ort::Exception& error) {
  const std::string text = error.what(), line = text.substr(0, text.find('\n'));
  static const std::regex places(R"(^.*\[ONNXRuntimeError\] : \d+ : \w+ : )");
  const auto short_text = std::regex_replace(line, places, "");
  const bool cudnn = short_text.find("cuDNN") != std::string::npos;
  return (cudnn ? "the graph needs cuDNN: " : "") + short_text;
}

// Whether the file can be opened on the CPU. If so, the device is the cause of the error.
bool is_loadable(const std::filesystem::path& path) {
  try {
    Ort::SessionOptions settings;
    Ort::Session session(ort_environment(), path.c_str(), settings);
    return true;
  } catch (const Ort::Exception&) {
    return false;
  }
}

Ort::Session open_session(const Bundle& bundle, const std::filesystem::path& path, const Options& options) {
  const auto& environment =
      ort_environment();  // created before the options, so that a provider that cannot be loaded uses its log
  std::optional<Ort::SessionOptions> settings;
  try {
    settings = session_options(options);
  } catch (const Ort::Exception& error) {
    if (options.device == "cpu") throw Unavailable("the library of operators cannot be loaded: " + cause(error));
    throw Unavailable("device " + options.device + ": " + cause(error));
  }
  try {
    Ort::Session session(environment, path.c_str(), *settings);
    bundle.check_contract(contract_in(session, path), path);
    return session;
  } catch (const Ort::Exception& error) {
    if (options.device != "cpu" && is_loadable(path))
      throw Unavailable("device " + options.device + ": " + cause(error));
    throw InvalidInput(path.string() + " cannot be loaded: " + error.what());
  }
}

class OrtProgram final : public Program {
 public:
  OrtProgram(const Bundle& bundle, const Options& options)
      : Program(bundle.contract()),
        bundle_(bundle),
        options_(options),
        step_(open_session(bundle, bundle.file(options.operators.empty() ? "step.onnx" : "step.custom.onnx"), options)),
        memory_(options.device == "cpu" ? Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault)
                                        : Ort::MemoryInfo("Cuda", OrtDeviceAllocator, 0, OrtMemTypeDefault)),
        allocator_(step_, memory_) {}

  State state() const override {
    Tensors tensors;
    for (std::size_t i = 0; i < contract().states.size(); ++i) {
      const auto& spec = contract().states[i];
      auto& tensor = tensors[spec.name] = Tensor::zeros(spec.dtype, spec.shape({{"batch", batch()}}));
      copy(tensor.data.data(), buffers_[now_][i].GetTensorRawData(), tensor.data.size());
    }
    return {contract(), std::move(tensors), batch()};
  }

 private:
  void start_from(const State& state) override {
    if (bound_for_ != batch()) bind();
    now_ = 0;
    for (std::size_t i = 0; i < contract().states.size(); ++i) {
      const auto& data = state.tensors().at(contract().states[i].name).data;
      copy(buffers_[0][i].GetTensorMutableRawData(), data.data(), data.size());
    }
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    if (options_.device == "cpu")
      std::memcpy(to, from, bytes);
    else
      cuda_copy(to, from, bytes);
  }

  void run(Ort::Session& session, const Ort::IoBinding& binding) {
    try {
      session.Run(run_options_, binding);
    } catch (const Ort::Exception& error) {  // a missing library is detected at the first step
      if (options_.device == "cpu") throw;
      throw Unavailable("device " + options_.device + ": " + cause(error));
    }
  }

  void bind() {
    bindings_.clear();
    for (auto& buffers : buffers_) {
      buffers.clear();
      for (const auto& spec : contract().states) {
        const auto shape = spec.shape({{"batch", batch()}});
        buffers.push_back(Ort::Value::CreateTensor(allocator_, shape.data(), shape.size(), type_of(spec.dtype)));
      }
    }
    device_inputs_.clear();
    if (options_.device != "cpu")
      for (const auto& input : inputs())
        device_inputs_.push_back(
            Ort::Value::CreateTensor(allocator_, input.shape.data(), input.shape.size(), type_of(input.dtype)));
    for (int from : {0, 1}) {
      auto& binding = bindings_.emplace_back(step_);
      for (std::size_t i = 0; i < inputs().size(); ++i)
        if (device_inputs_.empty())
          binding.BindInput(contract().inputs[i].name.c_str(), view_of(inputs()[i]));
        else
          binding.BindInput(contract().inputs[i].name.c_str(), device_inputs_[i]);
      for (std::size_t i = 0; i < outputs().size(); ++i)
        binding.BindOutput(contract().outputs[i].name.c_str(), view_of(outputs()[i]));
      bind_states(binding, from);
    }
    bound_for_ = batch();
  }

  void bind_states(Ort::IoBinding& binding, int from) {
    for (std::size_t i = 0; i < contract().states.size(); ++i) {
      const auto& name = contract().states[i].name;
      binding.BindInput(name.c_str(), buffers_[from][i]);
      binding.BindOutput((kNext + name).c_str(), buffers_[1 - from][i]);
    }
  }

  void take_step() override {
    // A bound input would be copied to the device only once, not at each step.
    for (std::size_t i = 0; i < device_inputs_.size(); ++i)
      copy(device_inputs_[i].GetTensorMutableRawData(), inputs()[i].data.data(), inputs()[i].data.size());
    run(step_, bindings_[static_cast<std::size_t>(now_)]);
    now_ = 1 - now_;
  }

  void scale_weights() override {
    if (!bundle_.holds("normalise.onnx")) return Program::scale_weights();
    if (!normalise_) normalise_ = open_session(bundle_, bundle_.file("normalise.onnx"), options_);
    Ort::IoBinding binding(*normalise_);
    auto next = state().tensors();
    const auto given = next;
    for (const auto& spec : contract().states)
      if (spec.kind == Kind::weight) {
        binding.BindInput(spec.name.c_str(), view_of(given.at(spec.name)));
        binding.BindOutput((kNext + spec.name).c_str(), view_of(next.at(spec.name)));
      }
    run(*normalise_, binding);
    start_from({contract(), std::move(next), batch()});
  }

  Tensors roll(const Tensors& inputs, std::int64_t steps) override {
    if (!bundle_.holds("sequence.onnx") || !options_.operators.empty()) return Program::roll(inputs, steps);
    if (!sequence_) sequence_ = open_session(bundle_, bundle_.file("sequence.onnx"), options_);
    Ort::IoBinding binding(*sequence_);
    Tensors outputs;
    for (const auto& [name, tensor] : inputs) binding.BindInput(name.c_str(), view_of(tensor));
    for (const auto& spec : contract().outputs) {
      auto& output = outputs[spec.name];
      output = Tensor::zeros(spec.dtype, spec.in_time().shape({{"time", steps}, {"batch", batch()}}));
      binding.BindOutput(spec.name.c_str(), view_of(output));
    }
    bind_states(binding, now_);
    run(*sequence_, binding);
    now_ = 1 - now_;
    return outputs;
  }

  const Bundle bundle_;
  const Options options_;
  Ort::Session step_;
  std::optional<Ort::Session> sequence_, normalise_;
  Ort::RunOptions run_options_;
  const Ort::MemoryInfo memory_;  // of the state, between steps
  Ort::Allocator allocator_;
  std::array<std::vector<Ort::Value>, 2> buffers_;
  std::vector<Ort::Value> device_inputs_;  // empty on the CPU: there the inputs are bound directly
  std::vector<Ort::IoBinding> bindings_;
  int now_ = 0;
  std::int64_t bound_for_ = 0;
};

}  // namespace

std::unique_ptr<Program> open_onnxruntime(const Bundle& bundle, const Options& options) {
  load_onnxruntime(options.onnxruntime);
  return std::make_unique<OrtProgram>(bundle, options);
}

}  // namespace deploy_snn
