#include <deploy_snn/state.hpp>

namespace deploy_snn {

State::State(const Contract& contract, Tensors tensors, std::int64_t batch)
    : tensors_(std::move(tensors)), batch_(batch) {
  const auto sizes = check(contract.states, tensors_, "state");
  if (const auto batch = sizes.find("batch"); batch != sizes.end()) batch_ = batch->second;
}

State State::load(const Contract& contract, const std::filesystem::path& path, std::int64_t batch) {
  return {contract, read_tensors(path), batch};
}

}  // namespace deploy_snn
