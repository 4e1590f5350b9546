#include <algorithm>
#include <cmath>

#include <deploy_snn/contract.hpp>
#include <deploy_snn/errors.hpp>

#include "json.hpp"

namespace deploy_snn {

std::optional<std::size_t> TensorSpec::batch_axis() const {
  const auto found = std::ranges::find(axes, Axis{"batch", std::nullopt});
  if (found == axes.end()) return std::nullopt;
  return static_cast<std::size_t>(found - axes.begin());
}

Shape TensorSpec::shape(const Sizes& sizes) const {
  Shape shape;
  for (const auto& axis : axes) shape.push_back(axis.size ? *axis.size : sizes.at(axis.name));
  return shape;
}

TensorSpec TensorSpec::in_time() const {
  auto spec = *this;
  spec.axes.insert(spec.axes.begin(), Axis{"time", std::nullopt});
  return spec;
}

std::vector<TensorSpec> in_time(const std::vector<TensorSpec>& specs) {
  std::vector<TensorSpec> timed;
  for (const auto& spec : specs) timed.push_back(spec.in_time());
  return timed;
}

std::string to_string(const TensorSpec& spec) {
  std::string text = spec.name + " " + to_string(spec.dtype) + " [";
  for (std::size_t i = 0; i < spec.axes.size(); ++i)
    text += (i ? ", " : "") + (spec.axes[i].size ? std::to_string(*spec.axes[i].size) : spec.axes[i].name);
  return text + "]";
}

namespace {

Role role_of(const std::string& name) {
  static const std::map<std::string, Role> roles = {{"drive", Role::drive},
                                                    {"noise", Role::noise},
                                                    {"state", Role::state},
                                                    {"spikes", Role::spikes},
                                                    {"record", Role::record}};
  const auto found = roles.find(name);
  if (found == roles.end()) throw std::runtime_error("role '" + name + "' is unknown");
  return found->second;
}

DType dtype_of(const std::string& name) {
  if (name == "float32") return DType::float32;
  if (name == "bool") return DType::boolean;
  throw std::runtime_error("type '" + name + "' is unknown");
}

Axis axis_from(const nlohmann::json& json) {
  Axis axis{json.at("name").get<std::string>(), std::nullopt};
  const auto& size = json.at("size");
  if (!size.is_null()) axis.size = size.get<std::int64_t>();
  if (axis.size && *axis.size < 1) throw std::runtime_error("axis '" + axis.name + "' is empty");
  if (!axis.size && axis.name != "batch") throw std::runtime_error("axis '" + axis.name + "' has no size");
  return axis;
}

}  // namespace

Contract contract_from(const nlohmann::json& json) {
  Contract contract;
  contract.dt = json.at("dt").get<double>();
  if (!(contract.dt > 0)) throw std::runtime_error("dt is not greater than 0");
  for (const auto& line : json.at("rounding")) contract.rounding.push_back(line.get<std::string>());
  for (const auto& tensor : json.at("tensors")) {
    TensorSpec spec;
    spec.name = tensor.at("name").get<std::string>();
    spec.role = role_of(tensor.at("role").get<std::string>());
    spec.dtype = dtype_of(tensor.at("dtype").get<std::string>());
    for (const auto& axis : tensor.at("axes")) spec.axes.push_back(axis_from(axis));
    auto& group = spec.role == Role::state                               ? contract.states
                  : spec.role == Role::drive || spec.role == Role::noise ? contract.inputs
                                                                         : contract.outputs;
    group.push_back(std::move(spec));
  }
  if (contract.inputs.empty() || contract.outputs.empty()) throw std::runtime_error("it names no input or no output");
  return contract;
}

Contract Contract::parse(const std::string& json, const std::string& where) {
  try {
    return contract_from(parse_json(json));
  } catch (const std::exception& error) {
    throw InvalidInput(where + " holds no valid contract: " + error.what());
  }
}

namespace {

void check_one(const TensorSpec& spec, const Tensor& tensor, const std::string& what, Sizes& sizes) {
  const auto given = what + " '" + spec.name + "' is " + to_string(tensor.dtype) + " " + to_string(tensor.shape) +
                     "; expected " + to_string(spec) + ": ";
  if (tensor.dtype != spec.dtype) throw InvalidInput(given + "convert it to " + to_string(spec.dtype));
  if (tensor.shape.size() != spec.axes.size())
    throw InvalidInput(given + "it has " + std::to_string(tensor.shape.size()) + " axes and not " +
                       std::to_string(spec.axes.size()));
  for (std::size_t i = 0; i < spec.axes.size(); ++i) {
    const auto& axis = spec.axes[i];
    const auto size = tensor.shape[i];
    if (size == 0) throw InvalidInput(given + "axis '" + axis.name + "' is empty");
    const auto wanted = axis.size ? *axis.size : sizes.emplace(axis.name, size).first->second;
    if (wanted != size)
      throw InvalidInput(given + "axis '" + axis.name + "' is " + std::to_string(size) + " and not " +
                         std::to_string(wanted));
  }
  if (tensor.dtype != DType::float32) return;
  const auto values = tensor.floats();
  const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
  if (bad != values.end())
    throw InvalidInput(what + " '" + spec.name + "' holds " + std::to_string(*bad) + " at its element " +
                       std::to_string(bad - values.begin()));
}

}  // namespace

Sizes check(const std::vector<TensorSpec>& specs, const Tensors& tensors, const std::string& what, Sizes known) {
  std::string expected;
  for (const auto& spec : specs) expected += (expected.empty() ? "" : "; ") + to_string(spec);
  if (expected.empty()) expected = "no " + what;
  for (const auto& spec : specs)
    if (!tensors.contains(spec.name))
      throw InvalidInput(what + " '" + spec.name + "' is missing. Expected: " + expected);
  for (const auto& [name, tensor] : tensors)
    if (std::ranges::find(specs, name, &TensorSpec::name) == specs.end())
      throw InvalidInput(what + " '" + name + "' is unknown. Expected: " + expected);
  for (const auto& spec : specs) check_one(spec, tensors.at(spec.name), what, known);
  return known;
}

}  // namespace deploy_snn
