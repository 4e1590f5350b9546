// The contract: records of all tensors that a step reads and returns. Each bundle and each model file contains it. This
// is the counterpart of deploy_snn/contract.py; tests/contracts/ holds the samples that both must agree on.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <deploy_snn/tensor.hpp>

namespace deploy_snn {

// The newest version that this host reads. It also reads all earlier ones.
constexpr int kContractVersion = 2;

// How a step uses a tensor.
enum class Role { drive, noise, reward, state, spikes, record };

// What a state represents.
enum class Kind {
  potential,
  current,
  recovery,
  counter,  // a refractory counter, in ms
  trace,
  threshold,
  sum,  // the drives of all steps, added up
  weight,
  eligibility,
  previous,  // the output of the step before
  window,    // a window of past steps
  other,
};

// An operation whose last bits may differ between runtimes.
enum class Operation { sum, exp, unknown };

std::string to_string(Role role);
std::string to_string(Kind kind);
std::string to_string(Operation operation);

// A named axis. An axis without a size is open: it may have any size (batch, time).
struct Axis {
  std::string name;
  std::optional<std::int64_t> size;

  bool operator==(const Axis&) const = default;
};

// The sizes of the open axes, such as {"batch": 4}.
using Sizes = std::map<std::string, std::int64_t>;

struct TensorSpec {
  std::string name;
  Role role = Role::drive;
  std::optional<Kind> kind;  // of a state; inputs and outputs have none
  DType dtype = DType::float32;
  std::vector<Axis> axes;
  std::string owner;  // the layer or the connection that the tensor belongs to; "" for a single neuron class

  // The place of the batch axis, or nothing for a tensor that all rows of a batch share.
  std::optional<std::size_t> batch_axis() const;
  // The shape as numbers, given the sizes of the open axes.
  Shape shape(const Sizes& sizes) const;
  // The same tensor for every step of a sequence: with a leading time axis.
  TensorSpec in_time() const;

  bool operator==(const TensorSpec&) const = default;
};

std::string to_string(const TensorSpec& spec);

// An operation whose last bits may differ between runtimes. `tensor` is the first tensor that can differ, or
// the name of a connection, which stands for its drive.
struct Rounding {
  std::string tensor;
  Operation operation = Operation::unknown;

  bool operator==(const Rounding&) const = default;
};

// Such as "the sum in exc.v".
std::string to_string(const Rounding& rounding);

// The prose of a contract (units, initial values in words) is documentation. It is not kept, and takes no part in
// equality.
struct Contract {
  double dt = 0;                                    // ms
  std::vector<TensorSpec> tensors;                  // all of them, in the order of the file
  std::vector<TensorSpec> inputs, states, outputs;  // the same, by role
  std::vector<Rounding> rounding;                   // empty: every runtime must give the same bits

  // Read a contract of this version or an earlier one from a file. `where` is the file's name, for messages. Throws
  // InvalidInput for a newer version and for an invalid contract.
  static Contract parse(const std::string& json, const std::string& where);

  bool operator==(const Contract&) const = default;
};

// What differs between two contracts, a sentence each; empty if they are equal.
std::vector<std::string> differences(const Contract& expected, const Contract& actual);

// Check tensors against their specs: names, element types, shapes, sizes that agree between tensors, finite numbers.
// `what` is the singular noun for messages, such as "input". Returns the sizes of the open axes. Throws InvalidInput.
Sizes check(const std::vector<TensorSpec>& specs, const Tensors& tensors, const std::string& what, Sizes known = {});

// The same tensors for every step of a sequence.
std::vector<TensorSpec> in_time(const std::vector<TensorSpec>& specs);

}  // namespace deploy_snn
