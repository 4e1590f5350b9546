// AOTInductor: inputs and outputs are identified by position, in the contract's order.
#include <algorithm>

#include <ATen/Parallel.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

#include "cpu.hpp"
#include "torch_tensors.hpp"

namespace deploy_snn {

namespace {

constexpr auto kContractFile = "extra/deploy_snn.contract.json";
constexpr auto kCpuFile = "extra/deploy_snn.cpu";

class AotiProgram final : public Program {
 public:
  AotiProgram(Contract contract, const std::string& path)
      : Program(std::move(contract)), package_(path, "model", /*run_single_threaded=*/true) {}

  State state() const override {
    Tensors tensors;
    for (std::size_t i = 0; i < state_.size(); ++i)
      tensors[contract().states[i].name] = to_ours(state_[i], contract().states[i].dtype);
    return {contract(), std::move(tensors), batch()};
  }

 private:
  void start_from(const State& state) override {
    c10::InferenceMode guard;
    state_.clear();
    for (const auto& spec : contract().states) state_.push_back(view_of(state.tensors().at(spec.name)).clone());
    given_.clear();
    for (const auto& input : inputs()) given_.push_back(view_of(input));
  }

  void take_step() override {
    c10::InferenceMode guard;
    std::vector<at::Tensor> arguments;
    arguments.reserve(given_.size() + state_.size());
    arguments.insert(arguments.end(), given_.begin(), given_.end());
    arguments.insert(arguments.end(), std::make_move_iterator(state_.begin()), std::make_move_iterator(state_.end()));
    auto results = package_.boxed_run(std::move(arguments));
    for (std::size_t i = 0; i < outputs().size(); ++i) copy_into(results[i], outputs()[i]);
    state_.assign(std::make_move_iterator(results.begin() + static_cast<long>(outputs().size())),
                  std::make_move_iterator(results.end()));
  }

  torch::inductor::AOTIModelPackageLoader package_;
  std::vector<at::Tensor> given_, state_;
};

// A text file inside the archive.
std::string extra_file(caffe2::serialize::PyTorchStreamReader& archive, const std::string& name) {
  auto [data, size] = archive.getRecord(name);
  return {static_cast<const char*>(data.get()), size};
}

}  // namespace

std::unique_ptr<Program> open_aoti(const Bundle& bundle, const Options& options) {
  if (options.device != "cpu") throw Unavailable("device " + options.device + ": format aoti is compiled for the CPU");
  const auto path = bundle.file("step.aoti.pt2");
  at::set_num_threads(options.threads);
  try {
    caffe2::serialize::PyTorchStreamReader archive(path.string());
    auto contract = Contract::parse(extra_file(archive, kContractFile), path.string());
    bundle.check_contract(contract, path);
    const auto cpu = extra_file(archive, kCpuFile);
    if (!runs_here(cpu))
      throw Unavailable(path.string() + " was compiled for " + cpu +
                        ", and this CPU does not support it: export it on this machine");
    return std::make_unique<AotiProgram>(std::move(contract), path.string());
  } catch (const c10::Error& error) {
    throw InvalidInput(path.string() + " is not a compiled step of deploy_snn: " + first_line(error));
  } catch (const InvalidInput&) {
    throw;
  } catch (const Unavailable&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw InvalidInput(path.string() + " cannot be loaded: " + first_line(error));
  }
}

}  // namespace deploy_snn
