// A bundle on disk: the folder that `deploy-snn export` writes.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include <deploy_snn/contract.hpp>
#include <deploy_snn/state.hpp>

namespace deploy_snn {

// A recorded run. All but `start` have a leading time axis; `states` are those after each step.
struct Golden {
  Tensors start, inputs, outputs, states;
};

// A model in C: the prefix of its functions, and the file of its weights, or "" if they are in the source.
struct CompiledModel {
  std::string prefix, weights;
};

class Bundle {
 public:
  // Reads the manifest, of this schema or an earlier one. Throws InvalidInput if it is missing, damaged, or of a newer
  // schema.
  explicit Bundle(std::filesystem::path path);

  const std::string& name() const { return name_; }
  const Contract& contract() const { return contract_; }

  bool holds(const std::string& file) const { return files_.contains(file); }

  // The path of one of the bundle's files. Throws InvalidInput if it is missing, or if its size or SHA-256 is not
  // the manifest's.
  std::filesystem::path file(const std::string& name) const;

  // The model in C. Throws InvalidInput if the manifest does not describe it.
  const CompiledModel& compiled() const;

  // Throws InvalidInput, with the differences, if the contract inside a file is not the manifest's.
  void check_contract(const Contract& inside, const std::filesystem::path& file) const;

  // The state before the first step, for `batch` rows.
  State initial_state(std::int64_t batch) const;

  // The recorded run that a host is checked with. Throws InvalidInput if the bundle was exported without one.
  Golden golden() const;

 private:
  struct Recorded {
    std::uintmax_t bytes = 0;
    std::string sha256;
  };

  std::filesystem::path path_;
  std::string name_;
  Contract contract_;
  bool has_golden_ = false;
  std::map<std::string, Recorded> files_;
  std::optional<CompiledModel> compiled_;
};

}  // namespace deploy_snn
