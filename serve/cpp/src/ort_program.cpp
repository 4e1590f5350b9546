// ONNX Runtime: everything that a step reads and writes is bound once. The state has two sets of buffers; each step
// reads one and writes the other. So a step of this host allocates nothing and copies nothing.
#include <array>
#include <optional>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

#include "ort_library.hpp"

namespace deploy_snn {

namespace {

constexpr auto kContractKey = "deploy_snn.contract";
constexpr auto kNext = "next.";  // state `v` leaves a graph as `next.v`

// A value that refers to our memory, which must outlive it.
Ort::Value view_of(const Tensor& tensor) {
  static const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  const auto type =
      tensor.dtype == DType::float32 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
  return Ort::Value::CreateTensor(memory, const_cast<std::byte*>(tensor.data.data()), tensor.data.size(),
                                  tensor.shape.data(), tensor.shape.size(), type);
}

Ort::SessionOptions session_options(const Options& options) {
  Ort::SessionOptions settings;
  settings.SetIntraOpNumThreads(options.threads);
  settings.SetInterOpNumThreads(1);
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
  if (!text) throw InvalidInput(path.string() + " holds no contract: deploy-snn did not write it");
  return Contract::parse(text.get(), path.string());
}

Ort::Session open_session(const Bundle& bundle, const std::filesystem::path& path, const Options& options) {
  const auto& environment =
      ort_environment();  // created before the options, so that a provider that cannot be loaded uses its log
  std::optional<Ort::SessionOptions> settings;
  try {
    settings = session_options(options);
  } catch (const Ort::Exception& error) {
    throw Unavailable("device " + options.device + ": " + error.what());
  }
  try {
    Ort::Session session(environment, path.c_str(), *settings);
    bundle.check_contract(contract_in(session, path), path);
    return session;
  } catch (const Ort::Exception& error) {
    throw InvalidInput(path.string() + " cannot be loaded: " + error.what());
  }
}

class OrtProgram final : public Program {
 public:
  OrtProgram(const Bundle& bundle, const Options& options)
      : Program(bundle.contract()),
        bundle_(bundle),
        options_(options),
        step_(open_session(bundle, bundle.file("step.onnx"), options)) {}

  State state() const override {
    Tensors tensors;
    for (std::size_t i = 0; i < contract().states.size(); ++i) tensors[contract().states[i].name] = buffers_[now_][i];
    return {contract(), std::move(tensors), batch()};
  }

 private:
  void start_from(const State& state) override {
    if (bound_for_ != batch()) bind();
    now_ = 0;
    for (std::size_t i = 0; i < contract().states.size(); ++i)
      std::ranges::copy(state.tensors().at(contract().states[i].name).data, buffers_[0][i].data.begin());
  }

  void bind() {
    bindings_.clear();
    for (auto& buffers : buffers_) {
      buffers.clear();
      for (const auto& spec : contract().states)
        buffers.push_back(Tensor::zeros(spec.dtype, spec.shape({{"batch", batch()}})));
    }
    for (int from : {0, 1}) {
      auto& binding = bindings_.emplace_back(step_);
      for (std::size_t i = 0; i < inputs().size(); ++i)
        binding.BindInput(contract().inputs[i].name.c_str(), view_of(inputs()[i]));
      for (std::size_t i = 0; i < outputs().size(); ++i)
        binding.BindOutput(contract().outputs[i].name.c_str(), view_of(outputs()[i]));
      bind_states(binding, from);
    }
    bound_for_ = batch();
  }

  void bind_states(Ort::IoBinding& binding, int from) {
    for (std::size_t i = 0; i < contract().states.size(); ++i) {
      const auto& name = contract().states[i].name;
      binding.BindInput(name.c_str(), view_of(buffers_[from][i]));
      binding.BindOutput((kNext + name).c_str(), view_of(buffers_[1 - from][i]));
    }
  }

  void take_step() override {
    step_.Run(run_options_, bindings_[static_cast<std::size_t>(now_)]);
    now_ = 1 - now_;
  }

  Tensors roll(const Tensors& inputs, std::int64_t steps) override {
    if (!bundle_.holds("sequence.onnx")) return Program::roll(inputs, steps);
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
    sequence_->Run(run_options_, binding);
    now_ = 1 - now_;
    return outputs;
  }

  const Bundle bundle_;
  const Options options_;
  Ort::Session step_;
  std::optional<Ort::Session> sequence_;
  Ort::RunOptions run_options_;
  std::array<std::vector<Tensor>, 2> buffers_;
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
