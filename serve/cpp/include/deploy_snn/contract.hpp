// What one step takes and gives: the records that travel in every bundle and inside every model file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <deploy_snn/tensor.hpp>

namespace deploy_snn {

enum class Role { drive, noise, state, spikes, record };

// A named axis; without a size it is open (batch, time).
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
  DType dtype = DType::float32;
  std::vector<Axis> axes;

  // Where the batch axis stands, or nothing for a tensor that all rows of a batch share.
  std::optional<std::size_t> batch_axis() const;
  Shape shape(const Sizes& sizes) const;
  // The same tensor for every step of a sequence: with a leading time axis.
  TensorSpec in_time() const;

  bool operator==(const TensorSpec&) const = default;
};

std::string to_string(const TensorSpec& spec);

struct Contract {
  double dt = 0;  // ms
  std::vector<TensorSpec> inputs, states, outputs;
  std::vector<std::string> rounding;  // operations whose last bits are a runtime's own affair

  // Read a contract that a file carries. Throws InvalidInput, naming `where` it stood and what is wrong with it.
  static Contract parse(const std::string& json, const std::string& where);

  bool operator==(const Contract&) const = default;
};

// Hold tensors against their records: names, types, shapes, equal batches, finite numbers. `what` is the noun for
// messages. Returns the sizes of the open axes. Throws InvalidInput.
Sizes check(const std::vector<TensorSpec>& specs, const Tensors& tensors, const std::string& what, Sizes known = {});

std::vector<TensorSpec> in_time(const std::vector<TensorSpec>& specs);

}  // namespace deploy_snn
