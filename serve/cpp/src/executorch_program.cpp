// ExecuTorch: the methods `step` and `sequence` of a .pte file. The file has no names: arguments are the inputs and
// then the states, results the outputs and then the next states, each in the contract's order. Its memory is planned at
// export, and the sizes of its own arguments are the largest batch and number of steps.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/platform/platform.h>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

namespace deploy_snn {

namespace {

namespace aten = executorch::aten;
namespace runtime = executorch::runtime;
using executorch::extension::Module;
using executorch::extension::TensorPtr;

// The first error that ExecuTorch has logged in this thread since the text was cleared.
thread_local std::string logged_error;

// ExecuTorch gives a code for an error and writes the cause to its log, which is stderr by default.
void keep_first_error(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, std::size_t,
                      const char* message, std::size_t length) {
  if (level == kFatal)
    std::fprintf(stderr, "%.*s\n", static_cast<int>(length), message);  // it aborts the process next
  else if (level == kError && logged_error.empty())
    logged_error.assign(message, length);
}

void redirect_log() {
  static std::once_flag once;
  std::call_once(once, [] { runtime::register_pal(runtime::PalImpl::create(keep_first_error, __FILE__)); });
}

// The cause of an error: the first line of the log, or the name of its code.
std::string cause(runtime::Error error) {
  const auto line = logged_error.substr(0, logged_error.find('\n'));
  logged_error.clear();
  return line.empty() ? runtime::to_string(error) : line;
}

aten::ScalarType type_of(DType dtype) {
  return dtype == DType::float32 ? aten::ScalarType::Float : aten::ScalarType::Bool;
}

std::string name_of(aten::ScalarType type) {
  for (const auto dtype : {DType::float32, DType::boolean})
    if (type == type_of(dtype)) return to_string(dtype);
  return "of type " + std::to_string(static_cast<int>(type));
}

// A tensor that refers to our memory, which must outlive it.
TensorPtr view_of(const std::byte* data, DType dtype, const Shape& shape) {
  return executorch::extension::from_blob(const_cast<std::byte*>(data), {shape.begin(), shape.end()}, type_of(dtype));
}

// Check the arguments or the results of a method against the contract, and add the sizes of their open axes to
// `bounds`.
template <class Count, class TensorMeta>
void check_tensors(const std::string& path, const std::string& method, const char* kind,
                   const std::vector<TensorSpec>& specs, Count count_of, TensorMeta tensor_meta, Sizes& bounds) {
  if (count_of() != specs.size())
    throw InvalidInput(path + ": " + method + " has " + std::to_string(count_of()) + " " + kind +
                       "s, but the contract lists " + std::to_string(specs.size()));
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto& spec = specs[i];
    const auto prefix = path + ": " + kind + " " + std::to_string(i) + " of " + method + " is ";
    const auto meta = tensor_meta(i);
    if (!meta.ok()) throw InvalidInput(prefix + "not a tensor, but '" + spec.name + "' of the contract is");
    const Shape shape(meta->sizes().begin(), meta->sizes().end());
    auto expected = to_string(spec);
    if (shape.size() == spec.axes.size()) {
      for (std::size_t axis = 0; axis < shape.size(); ++axis)
        if (!spec.axes[axis].size) bounds.emplace(spec.axes[axis].name, shape[axis]);
      if (meta->scalar_type() == type_of(spec.dtype) && shape == spec.shape(bounds)) continue;
      expected = spec.name + " " + to_string(spec.dtype) + " " + to_string(spec.shape(bounds));
    }
    throw InvalidInput(prefix + name_of(meta->scalar_type()) + " " + to_string(shape) + ", but the contract has " +
                       expected);
  }
}

// A method of the file, which is checked against the contract and loaded when it is first needed.
class Method {
 public:
  Method(Module& module, std::string path, std::string name, std::vector<TensorSpec> inputs,
         std::vector<TensorSpec> outputs, const std::vector<TensorSpec>& states)
      : module_(module), path_(std::move(path)), name_(std::move(name)), results_(std::move(outputs)) {
    auto arguments = std::move(inputs);
    arguments.insert(arguments.end(), states.begin(), states.end());
    results_.insert(results_.end(), states.begin(), states.end());
    const auto meta = module_.method_meta(name_);
    if (!meta.ok()) throw InvalidInput(path_ + " has no method '" + name_ + "': " + cause(meta.error()));
    check_tensors(
        path_, name_, "argument", arguments, [&] { return meta->num_inputs(); },
        [&](auto i) { return meta->input_tensor_meta(i); }, bounds_);
    check_tensors(
        path_, name_, "result", results_, [&] { return meta->num_outputs(); },
        [&](auto i) { return meta->output_tensor_meta(i); }, bounds_);
    if (const auto error = module_.load_method(name_); error != runtime::Error::Ok) fail(error);
  }

  // The largest batch and, for `sequence`, number of steps.
  std::int64_t bound(const std::string& axis) const { return bounds_.at(axis); }

  // Run the method and copy its results, which the next call overwrites.
  void run(const std::vector<runtime::EValue>& arguments, const std::vector<std::span<std::byte>>& to) {
    const executorch::extension::threadpool::NoThreadPoolGuard one_thread;
    const auto results = module_.execute(name_, arguments);
    if (!results.ok()) fail(results.error());
    for (std::size_t i = 0; i < to.size(); ++i) {
      const auto& result = (*results)[i].toTensor();
      if (result.nbytes() != to[i].size())
        throw InvalidInput(path_ + ": result " + std::to_string(i) + " of " + name_ + ", '" + results_[i].name +
                           "', has " + std::to_string(result.nbytes()) + " bytes instead of " +
                           std::to_string(to[i].size()));
      std::memcpy(to[i].data(), result.const_data_ptr(), to[i].size());
    }
  }

 private:
  [[noreturn]] void fail(runtime::Error error) const {
    const bool missing = error == runtime::Error::OperatorMissing || error == runtime::Error::NotFound;
    const auto text = cause(error);
    if (missing) throw Unavailable("this ExecuTorch cannot run " + path_ + ": " + text);
    throw InvalidInput(path_ + " cannot be run: " + text);
  }

  Module& module_;
  const std::string path_, name_;
  std::vector<TensorSpec> results_;
  Sizes bounds_;
};

class ExecutorchProgram final : public Program {
 public:
  ExecutorchProgram(Contract contract, std::unique_ptr<Module> module, const std::string& path)
      : Program(std::move(contract)),
        path_(path),
        module_(std::move(module)),
        step_(*module_, path, "step", this->contract().inputs, this->contract().outputs, this->contract().states),
        sequence_(*module_, path, "sequence", in_time(this->contract().inputs), in_time(this->contract().outputs),
                  this->contract().states) {}

  State state() const override {
    Tensors tensors;
    for (std::size_t i = 0; i < states_.size(); ++i) tensors[contract().states[i].name] = states_[i];
    return {contract(), std::move(tensors), batch()};
  }

 private:
  void start_from(const State& state) override {
    if (state.batch() > step_.bound("batch"))
      throw InvalidInput("a batch of " + std::to_string(state.batch()) + ": " + path_ + " was exported for at most " +
                         std::to_string(step_.bound("batch")) + ": export it with --max-batch " +
                         std::to_string(state.batch()));
    if (bound_for_ != batch()) bind();
    for (std::size_t i = 0; i < states_.size(); ++i)
      states_[i].data = state.tensors().at(contract().states[i].name).data;
  }

  // Refer to the inputs, the outputs and the state, whose addresses do not change until the next batch.
  void bind() {
    states_.clear();
    for (const auto& spec : contract().states)
      states_.push_back(Tensor::zeros(spec.dtype, spec.shape({{"batch", batch()}})));
    views_.clear();
    arguments_.clear();
    results_.clear();
    for (const auto& input : inputs()) add_argument(input.data.data(), input.dtype, input.shape);
    for (const auto& state : states_) add_argument(state.data.data(), state.dtype, state.shape);
    for (auto& output : outputs()) results_.emplace_back(output.data);
    for (auto& state : states_) results_.emplace_back(state.data);
    bound_for_ = batch();
  }

  void add_argument(const std::byte* data, DType dtype, const Shape& shape) {
    arguments_.emplace_back(*views_.emplace_back(view_of(data, dtype, shape)));
  }

  void take_step() override { step_.run(arguments_, results_); }

  void scale_weights() override { throw Unavailable("format executorch cannot normalise weights: use another host"); }

  // In calls of as many steps as `sequence` has memory for. Its batch is fixed; for another one, the step is repeated.
  Tensors roll(const Tensors& inputs, std::int64_t steps) override {
    if (batch() != sequence_.bound("batch")) return Program::roll(inputs, steps);
    const auto sizes = [&](std::int64_t count) { return Sizes{{"time", count}, {"batch", batch()}}; };
    Tensors outputs;
    for (const auto& spec : contract().outputs)
      outputs[spec.name] = Tensor::zeros(spec.dtype, spec.in_time().shape(sizes(steps)));
    const auto first_state = arguments_.begin() + static_cast<long>(contract().inputs.size());
    const auto first_result = results_.begin() + static_cast<long>(contract().outputs.size());
    for (std::int64_t begin = 0; begin < steps; begin += sequence_.bound("time")) {
      const auto count = std::min(sequence_.bound("time"), steps - begin);
      std::vector<TensorPtr> views;
      std::vector<runtime::EValue> arguments;
      std::vector<std::span<std::byte>> results;
      for (const auto& spec : contract().inputs) {
        const auto& whole = inputs.at(spec.name).data;
        const auto* data = whole.data() + static_cast<std::int64_t>(whole.size()) / steps * begin;
        arguments.emplace_back(*views.emplace_back(view_of(data, spec.dtype, spec.in_time().shape(sizes(count)))));
      }
      arguments.insert(arguments.end(), first_state, arguments_.end());
      for (const auto& spec : contract().outputs) {
        auto& whole = outputs.at(spec.name).data;
        const auto step = whole.size() / static_cast<std::size_t>(steps);
        results.push_back(
            std::span(whole).subspan(step * static_cast<std::size_t>(begin), step * static_cast<std::size_t>(count)));
      }
      results.insert(results.end(), first_result, results_.end());
      sequence_.run(arguments, results);
    }
    return outputs;
  }

  const std::string path_;
  std::unique_ptr<Module> module_;
  Method step_, sequence_;
  std::vector<Tensor> states_;
  std::vector<TensorPtr> views_;
  std::vector<runtime::EValue> arguments_;     // of a step: the inputs and the states
  std::vector<std::span<std::byte>> results_;  // of a step: where the outputs and the next states are copied to
  std::int64_t bound_for_ = 0;
};

Contract contract_in(Module& module, const std::string& path) {
  const auto text = module.get("contract");
  if (!text.ok() || !text->isString()) throw InvalidInput(path + " has no contract: deploy-snn did not write it");
  return Contract::parse(std::string(text->toString()), path);
}

}  // namespace

std::unique_ptr<Program> open_executorch(const Bundle& bundle, const Options& options) {
  if (options.device != "cpu" && options.device != "cuda")
    throw InvalidInput("unknown device '" + options.device + "'; choose from cpu, cuda");
  if (options.device != "cpu") throw Unavailable("device " + options.device + ": format executorch runs on the CPU");
  if (options.threads != 1)
    throw InvalidInput(std::to_string(options.threads) + " threads: format executorch runs on one");
  const auto path = bundle.file(options.xnnpack ? "model.xnnpack.pte" : "model.pte");
  redirect_log();
  logged_error.clear();
  auto module = std::make_unique<Module>(path.string());
  if (const auto error = module->load(runtime::Program::Verification::InternalConsistency); error != runtime::Error::Ok)
    throw InvalidInput(path.string() + " cannot be loaded: " + cause(error));
  auto contract = contract_in(*module, path.string());
  bundle.check_contract(contract, path);
  return std::make_unique<ExecutorchProgram>(std::move(contract), std::move(module), path.string());
}

}  // namespace deploy_snn
