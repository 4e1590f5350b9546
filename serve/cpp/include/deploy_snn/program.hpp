// One stream of a bundle's program, with the same interface for every runtime: start from a state, fill the inputs,
// step, read the outputs.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <deploy_snn/bundle.hpp>
#include <deploy_snn/contract.hpp>
#include <deploy_snn/state.hpp>

namespace deploy_snn {

struct Options {
  std::string device = "cpu";                       // or "cuda"
  int threads = 1;                                  // a step is too small to share between cores
  std::string onnxruntime = "libonnxruntime.so.1";  // the library that open_onnxruntime loads: a name or a path
  std::string operators;  // the library of step.custom.c or model.custom.c, to run step.custom.onnx or model.custom.pt
  bool xnnpack = false;   // open_executorch: the file with XNNPACK's kernels
  std::string library;    // the library that open_c loads: a path; "" for the bundle's own
};

class Program {
 public:
  virtual ~Program() = default;
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  const Contract& contract() const { return contract_; }

  // Continue from this state. Its batch size is that of every step until the next start.
  void start(const State& state);

  // The memory of an input, [batch, ...]: fill it before each step. Its address does not change until the next start.
  // Throws InvalidInput for an unknown name.
  std::span<float> input(std::string_view name);

  // One step of dt.
  void step();

  // The memory of an output, [batch, ...], after the last step. Throws InvalidInput for an unknown name.
  std::span<const bool> spikes(std::string_view name) const;
  const Tensor& output(std::string_view name) const;

  // The state after the last step.
  virtual State state() const = 0;

  // Scale the learnt weights whose rule has a norm, as at the end of a sample. Throws InvalidInput if there are none.
  void normalise();

  // Run all steps of a sequence, [T, batch, ...], and return the outputs, also with a leading time axis. Throws
  // InvalidInput for inputs that break the contract.
  Tensors rollout(const Tensors& inputs);

 protected:
  explicit Program(Contract contract) : contract_(std::move(contract)) {}

  // Inputs and outputs, in the contract's order.
  std::vector<Tensor>& inputs() { return inputs_; }
  std::vector<Tensor>& outputs() { return outputs_; }
  std::int64_t batch() const { return batch_; }

  // As `rollout`, with inputs that are already checked. By default it runs step after step; a runtime with sequence
  // files overrides it.
  virtual Tensors roll(const Tensors& inputs, std::int64_t steps);

  // As `normalise`. By default there are no such weights.
  virtual void scale_weights();

 private:
  // Throws std::logic_error before the first start.
  void check_started() const;
  virtual void start_from(const State& state) = 0;
  virtual void take_step() = 0;

  const Contract contract_;
  std::vector<Tensor> inputs_, outputs_;
  std::int64_t batch_ = 0;
};

// TorchScript in libtorch (model.pt; with `options.operators`, model.custom.pt). Throws InvalidInput for a file that
// does not match the manifest, and Unavailable for a missing device or library.
std::unique_ptr<Program> open_torch(const Bundle& bundle, const Options& options = {});

// A step compiled ahead of time, in libtorch (step.aoti.pt2). Throws Unavailable on a CPU that it was not compiled for.
std::unique_ptr<Program> open_aoti(const Bundle& bundle, const Options& options = {});

// ONNX Runtime (step.onnx, sequence.onnx; with `options.operators`, step.custom.onnx). Throws Unavailable if a library
// or the provider is missing.
std::unique_ptr<Program> open_onnxruntime(const Bundle& bundle, const Options& options = {});

// ExecuTorch (model.pte; with `options.xnnpack`, model.xnnpack.pte), on one thread. It redirects ExecuTorch's log, so
// that its messages are in the errors. Throws InvalidInput for a file that does not match the manifest and for a batch
// that it has no memory for, and Unavailable for a file whose operators or backend are missing.
std::unique_ptr<Program> open_executorch(const Bundle& bundle, const Options& options = {});

// A shared library built from model.c, without any framework: the bundle's own for this CPU (model.CPU.so), or
// `options.library`. Throws InvalidInput for a library of another model, and Unavailable if there is none for this CPU.
std::unique_ptr<Program> open_c(const Bundle& bundle, const Options& options = {});

}  // namespace deploy_snn
