// A contract from JSON, as strictly as Python parses it: unknown fields and wrong types are errors. Messages begin with
// the path of the wrong field, such as "tensors.0.role: ".
#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <set>
#include <string_view>

#include <deploy_snn/errors.hpp>

#include "json.hpp"

namespace deploy_snn {

namespace {

using Json = nlohmann::json;

template <class Value>
struct Name {
  Value value;
  const char* text;
};

constexpr std::array kRoles = {Name{Role::drive, "drive"}, Name{Role::noise, "noise"},   Name{Role::reward, "reward"},
                               Name{Role::state, "state"}, Name{Role::spikes, "spikes"}, Name{Role::record, "record"}};
constexpr std::array kKinds = {Name{Kind::potential, "potential"},
                               Name{Kind::current, "current"},
                               Name{Kind::recovery, "recovery"},
                               Name{Kind::counter, "counter"},
                               Name{Kind::trace, "trace"},
                               Name{Kind::threshold, "threshold"},
                               Name{Kind::sum, "sum"},
                               Name{Kind::weight, "weight"},
                               Name{Kind::eligibility, "eligibility"},
                               Name{Kind::previous, "previous"},
                               Name{Kind::window, "window"},
                               Name{Kind::other, "other"}};
constexpr std::array kOperations = {Name{Operation::sum, "sum"}, Name{Operation::exp, "exp"},
                                    Name{Operation::unknown, "unknown"}};
constexpr std::array kTypes = {Name{DType::float32, "float32"}, Name{DType::boolean, "bool"}};

template <class Names, class Value>
std::string text_of(const Names& names, Value value) {
  return std::ranges::find(names, value, [](const auto& name) { return name.value; })->text;
}

[[noreturn]] void fail(const std::string& place, const std::string& problem) {
  throw std::runtime_error(place.empty() ? problem : place + ": " + problem);
}

std::string inside(const std::string& place, const std::string& field) {
  return place.empty() ? field : place + "." + field;
}

// A JSON object with required and optional fields. Missing and unknown fields are errors.
class Object {
 public:
  Object(const Json& json, std::string place, const std::set<std::string>& known)
      : json_(json), place_(std::move(place)) {
    if (!json.is_object()) fail(place_, "it is not an object");
    for (const auto& [field, _] : json.items())
      if (!known.contains(field)) fail(at(field), "this field is unknown");
  }

  std::string at(const std::string& field) const { return inside(place_, field); }

  // A field, or null if it is missing.
  const Json* find(const std::string& field) const {
    const auto found = json_.find(field);
    return found == json_.end() ? nullptr : &*found;
  }

  const Json& get(const std::string& field) const {
    if (const auto* found = find(field)) return *found;
    fail(at(field), "this field is missing");
  }

  std::string string(const std::string& field) const { return as_string(get(field), field); }

  std::string string_or(const std::string& field, const char* otherwise) const {
    const auto* found = find(field);
    return found ? as_string(*found, field) : otherwise;
  }

  std::string name(const std::string& field) const {
    auto text = string(field);
    if (text.empty()) fail(at(field), "it is empty");
    return text;
  }

  const Json& array(const std::string& field) const { return as_array(get(field), field); }

  const Json* array_or_null(const std::string& field) const {
    const auto* found = find(field);
    return found ? &as_array(*found, field) : nullptr;
  }

  template <class Names>
  auto one_of(const Names& names, const std::string& text, const std::string& field) const {
    const auto found =
        std::ranges::find(names, std::string_view(text), [](const auto& name) { return std::string_view(name.text); });
    if (found != names.end()) return found->value;
    std::string known;
    for (const auto& name : names) known += (known.empty() ? "" : ", ") + std::string(name.text);
    fail(at(field), "unknown " + field + " '" + text + "'; choose from " + known);
  }

 private:
  std::string as_string(const Json& value, const std::string& field) const {
    if (!value.is_string()) fail(at(field), "it is not a string");
    return value.get<std::string>();
  }

  const Json& as_array(const Json& value, const std::string& field) const {
    if (!value.is_array()) fail(at(field), "it is not an array");
    return value;
  }

  const Json& json_;
  std::string place_;
};

Axis axis_from(const Json& json, const std::string& place) {
  const Object object(json, place, {"name", "size"});
  Axis axis{object.name("name"), std::nullopt};
  const auto& size = object.get("size");
  if (size.is_null()) return axis;
  if (!size.is_number_integer()) fail(object.at("size"), "it is not a whole number");
  if (size.is_number_unsigned() && size.get<std::uint64_t>() > INT64_MAX) fail(object.at("size"), "it is too large");
  axis.size = size.get<std::int64_t>();
  if (*axis.size < 1) fail(object.at("size"), "it is less than 1");
  return axis;
}

TensorSpec tensor_from(const Json& json, const std::string& place) {
  const Object object(json, place, {"name", "role", "kind", "dtype", "axes", "owner", "initial", "unit"});
  TensorSpec spec;
  spec.name = object.name("name");
  spec.role = object.one_of(kRoles, object.string("role"), "role");
  if (const auto* kind = object.find("kind"); kind && !kind->is_null())
    spec.kind = object.one_of(kKinds, object.string("kind"), "kind");
  spec.dtype = object.one_of(kTypes, object.string_or("dtype", "float32"), "dtype");
  if (const auto* axes = object.array_or_null("axes"))
    for (std::size_t i = 0; i < axes->size(); ++i)
      spec.axes.push_back(axis_from((*axes)[i], object.at("axes") + "." + std::to_string(i)));
  else
    spec.axes = {{"batch", std::nullopt}, {"neurons", std::nullopt}};  // Python's placeholder: it has no size
  spec.owner = object.string_or("owner", "");
  object.string_or("initial", "");  // prose: checked, and not kept
  object.string_or("unit", "");
  if ((spec.role == Role::state) != spec.kind.has_value())
    fail(place, "tensor '" + spec.name + "': a state must have a kind, and an input or output must not");
  return spec;
}

Rounding rounding_from(const Json& json, const std::string& place) {
  const Object object(json, place, {"tensor", "operation"});
  return {object.name("tensor"), object.one_of(kOperations, object.string("operation"), "operation")};
}

// Checks of the whole contract, after those of its parts; sorts the tensors by role.
void complete(Contract& contract) {
  std::set<std::string> names;
  for (const auto& spec : contract.tensors) {
    if (!names.insert(spec.name).second) fail("", "two tensors are named '" + spec.name + "'");
    const bool input = spec.role == Role::drive || spec.role == Role::noise || spec.role == Role::reward;
    auto& group = spec.role == Role::state ? contract.states : input ? contract.inputs : contract.outputs;
    group.push_back(spec);
  }
  for (const auto& spec : contract.tensors)
    for (const auto& axis : spec.axes)
      if (!axis.size && axis.name != "batch")
        fail("", "tensor '" + spec.name + "': axis '" + axis.name + "' has no size");
  for (const auto& spec : contract.inputs)
    if (spec.dtype != DType::float32 || !spec.batch_axis())
      fail("", "tensor '" + spec.name + "': an input is float32 and has a batch axis");
  if (contract.inputs.empty() || contract.outputs.empty())
    fail("", "a contract needs at least one input and one output");
}

}  // namespace

std::string to_string(Role role) { return text_of(kRoles, role); }
std::string to_string(Kind kind) { return text_of(kKinds, kind); }
std::string to_string(Operation operation) { return text_of(kOperations, operation); }

Contract contract_from(const nlohmann::json& given) {
  const auto json = upgrade_contract(given, kContractVersion);
  const Object object(json, "", {"contract_version", "dt", "tensors", "rounding"});
  if (object.get("contract_version") != kContractVersion)
    fail("contract_version", "it is not " + std::to_string(kContractVersion));
  Contract contract;
  const auto& dt = object.get("dt");
  if (!dt.is_number()) fail("dt", "it is not a number");
  contract.dt = dt.get<double>();
  if (!(contract.dt > 0)) fail("dt", "it is not greater than 0");
  const auto& tensors = object.array("tensors");
  for (std::size_t i = 0; i < tensors.size(); ++i)
    contract.tensors.push_back(tensor_from(tensors[i], "tensors." + std::to_string(i)));
  if (const auto* rounding = object.array_or_null("rounding"))
    for (std::size_t i = 0; i < rounding->size(); ++i)
      contract.rounding.push_back(rounding_from((*rounding)[i], "rounding." + std::to_string(i)));
  complete(contract);
  return contract;
}

Contract Contract::parse(const std::string& json, const std::string& where) {
  try {
    return contract_from(parse_json(json));
  } catch (const std::exception& error) {
    throw InvalidInput(where + " holds no valid contract: " + error.what());
  }
}

}  // namespace deploy_snn
