// TorchScript: `forward`, `rollout`, and the contract as an extra file.
#include <dlfcn.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <torch/cuda.h>
#include <torch/script.h>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

#include "torch_tensors.hpp"

namespace deploy_snn {

namespace {

constexpr auto kContractFile = "deploy_snn.contract.json";

// The interpreter profiles its first two runs and optimizes in the next one. A warm-up keeps this delay out of real
// steps.
constexpr int kWarmUp = 4;

using Dict = c10::Dict<std::string, at::Tensor>;

class TorchProgram final : public Program {
 public:
  TorchProgram(Contract contract, torch::jit::Module module, at::Device device)
      : Program(std::move(contract)),
        module_(std::move(module)),
        rollout_(module_.get_method("rollout")),
        device_(device) {}

  State state() const override {
    Tensors tensors;
    for (const auto& spec : contract().states) tensors[spec.name] = to_ours(state_.at(spec.name), spec.dtype);
    return {contract(), std::move(tensors), batch()};
  }

 private:
  void start_from(const State& state) override {
    c10::InferenceMode guard;
    Dict given;
    for (const auto& spec : contract().states)
      given.insert(spec.name,
                   view_of(state.tensors().at(spec.name)).to(device_, /*non_blocking=*/false, /*copy=*/true));
    given_.clear();
    for (std::size_t i = 0; i < inputs().size(); ++i) given_.insert(contract().inputs[i].name, view_of(inputs()[i]));
    if (warm_for_ != batch()) {
      for (int i = 0; i < kWarmUp; ++i) {
        state_ = given;
        take_step();
      }
      for (auto& output : outputs()) std::fill(output.data.begin(), output.data.end(), std::byte{});
      warm_for_ = batch();
    }
    state_ = given;
  }

  void take_step() override {
    c10::InferenceMode guard;
    unpack(module_.forward({on_device(given_), state_}),
           [this](std::size_t i, const at::Tensor& value) { copy_into(value, outputs()[i]); });
  }

  void scale_weights() override {
    c10::InferenceMode guard;
    const auto method = module_.find_method("normalise");
    if (!method) return Program::scale_weights();
    const auto scaled = c10::impl::toTypedDict<std::string, at::Tensor>((*method)({state_}).toGenericDict());
    if (scaled.empty()) return Program::scale_weights();
    for (const auto& entry : scaled) state_.insert_or_assign(entry.key(), entry.value());
  }

  Tensors roll(const Tensors& inputs, std::int64_t) override {
    c10::InferenceMode guard;
    Dict sequences;
    for (const auto& [name, tensor] : inputs) sequences.insert(name, view_of(tensor));
    Tensors outputs;
    unpack(rollout_({on_device(sequences), state_}), [&](std::size_t i, const at::Tensor& value) {
      outputs[contract().outputs[i].name] = to_ours(value, contract().outputs[i].dtype);
    });
    return outputs;
  }

  // Pass each output of a call to `receive` and keep the next state.
  template <class Receive>
  void unpack(const torch::jit::IValue& result, Receive receive) {
    const auto& both = result.toTupleRef().elements();
    const auto outputs = c10::impl::toTypedDict<std::string, at::Tensor>(both[0].toGenericDict());
    state_ = c10::impl::toTypedDict<std::string, at::Tensor>(both[1].toGenericDict());
    for (std::size_t i = 0; i < contract().outputs.size(); ++i) receive(i, outputs.at(contract().outputs[i].name));
  }

  Dict on_device(const Dict& given) const {
    if (device_.is_cpu()) return given;
    Dict moved;
    for (const auto& entry : given) moved.insert(entry.key(), entry.value().to(device_));
    return moved;
  }

  torch::jit::Module module_;
  torch::jit::Method rollout_;
  at::Device device_;
  Dict given_, state_;
  std::int64_t warm_for_ = 0;
};

// Load the library of model.custom.c, which registers operators. It stays loaded, as libtorch keeps a list of them.
void load_operators(const std::string& library) {
  if (!dlopen(std::filesystem::absolute(library).c_str(), RTLD_NOW | RTLD_LOCAL))
    throw Unavailable(std::string("the library of operators cannot be loaded: ") + dlerror());
}

at::Device device_of(const std::string& name) {
  if (name != "cpu" && name != "cuda") throw InvalidInput("unknown device '" + name + "'; choose from cpu, cuda");
  if (name == "cuda" && !torch::cuda::is_available())
    throw Unavailable("device cuda: this libtorch finds no GPU on this machine");
  return at::Device(name);
}

}  // namespace

std::unique_ptr<Program> open_torch(const Bundle& bundle, const Options& options) {
  const auto device = device_of(options.device);
  const bool compiled = !options.operators.empty();
  if (compiled && !device.is_cpu())
    throw Unavailable("device " + options.device + ": the operators run on the CPU only");
  const auto path = bundle.file(compiled ? "model.custom.pt" : "model.pt");
  if (compiled) load_operators(options.operators);
  at::set_num_threads(options.threads);
  if (device.is_cuda()) {  // TF32 would round products and convolutions differently from every other runtime
    at::globalContext().setAllowTF32CuBLAS(false);
    at::globalContext().setAllowTF32CuDNN(false);
  }
  torch::jit::ExtraFilesMap extra{{kContractFile, ""}};
  try {
    auto module = torch::jit::load(path.string(), device, extra);
    module.eval();
    auto contract = Contract::parse(extra.at(kContractFile), path.string());
    bundle.check_contract(contract, path);
    return std::make_unique<TorchProgram>(std::move(contract), std::move(module), device);
  } catch (const c10::Error& error) {
    throw InvalidInput(path.string() + " is not a TorchScript file of deploy_snn: " + first_line(error));
  } catch (const torch::jit::ErrorReport&) {  // an operator that is not registered
    throw InvalidInput(options.operators + " is not the library of " + path.string() +
                       ": build model.custom.c of this bundle");
  }
}

}  // namespace deploy_snn
