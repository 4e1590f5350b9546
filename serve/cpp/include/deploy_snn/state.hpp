// The state of a program between two steps. It is data: save it, send it, start from it in any process and runtime.
#pragma once

#include <filesystem>

#include <deploy_snn/contract.hpp>

namespace deploy_snn {

class State {
 public:
  // `batch` is used only if no state has a batch axis. Throws InvalidInput for tensors that are not the contract's
  // states.
  State(const Contract& contract, Tensors tensors, std::int64_t batch = 1);

  static State load(const Contract& contract, const std::filesystem::path& path, std::int64_t batch = 1);
  void save(const std::filesystem::path& path) const { write_tensors(path, tensors_); }

  // The number of rows.
  std::int64_t batch() const { return batch_; }
  const Tensors& tensors() const { return tensors_; }

 private:
  Tensors tensors_;
  std::int64_t batch_;
};

}  // namespace deploy_snn
