#include <algorithm>
#include <cmath>
#include <cstdio>

#include <deploy_snn/contract.hpp>
#include <deploy_snn/errors.hpp>

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

std::string to_string(const Rounding& rounding) {
  const char* words = rounding.operation == Operation::sum   ? "the sum in "
                      : rounding.operation == Operation::exp ? "the exponential in "
                                                             : "an undeclared operation in ";
  return words + rounding.tensor;
}

namespace {

template <class Values>
std::string joined(const Values& values, const char* separator) {
  std::string text;
  for (const auto& value : values) text += (text.empty() ? "" : separator) + value;
  return text;
}

// A number as "%g" prints it, or with all its digits.
std::string shown(double value, bool all_digits) {
  char text[40];
  std::snprintf(text, sizeof text, all_digits ? "%.17g" : "%g", value);
  return text;
}

std::string shown(const std::vector<Axis>& axes) {
  std::vector<std::string> each;
  for (const auto& axis : axes) each.push_back(axis.size ? axis.name + "=" + std::to_string(*axis.size) : axis.name);
  return "[" + joined(each, ", ") + "]";
}

std::string shown(const std::string& text) { return text.empty() ? "none" : text; }

std::vector<std::string> names_of(const std::vector<TensorSpec>& specs) {
  std::vector<std::string> names;
  for (const auto& spec : specs) names.push_back(spec.name);
  return names;
}

std::string shown(const std::vector<Rounding>& rounding) {
  std::vector<std::string> each;
  for (const auto& entry : rounding) each.push_back(to_string(entry));
  return each.empty() ? "empty" : joined(each, ", ");
}

// The fields of a spec in which two tensors of the same name can differ, and their values in words.
std::vector<std::pair<std::string, std::string>> fields_of(const TensorSpec& spec) {
  return {{"role", to_string(spec.role)},
          {"kind", spec.kind ? to_string(*spec.kind) : "none"},
          {"dtype", to_string(spec.dtype)},
          {"axes", shown(spec.axes)},
          {"owner", shown(spec.owner)}};
}

}  // namespace

std::vector<std::string> differences(const Contract& expected, const Contract& actual) {
  std::vector<std::string> found;
  if (expected.dt != actual.dt) {
    const bool all = shown(expected.dt, false) == shown(actual.dt, false);
    found.push_back("dt is " + shown(actual.dt, all) + " ms instead of " + shown(expected.dt, all) + " ms");
  }
  const auto find = [](const Contract& contract, const std::string& name) {
    return std::ranges::find(contract.tensors, name, &TensorSpec::name);
  };
  for (const auto& spec : expected.tensors)
    if (find(actual, spec.name) == actual.tensors.end()) found.push_back("tensor '" + spec.name + "' is missing");
  for (const auto& spec : actual.tensors)
    if (find(expected, spec.name) == expected.tensors.end())
      found.push_back("tensor '" + spec.name + "' is unexpected");
  for (const auto& spec : expected.tensors) {
    const auto other = find(actual, spec.name);
    if (other == actual.tensors.end()) continue;
    const auto wanted = fields_of(spec), given = fields_of(*other);
    for (std::size_t i = 0; i < wanted.size(); ++i)
      if (wanted[i] != given[i])
        found.push_back(wanted[i].first + " of tensor '" + spec.name + "' is " + given[i].second + " instead of " +
                        wanted[i].second);
  }
  const auto wanted = names_of(expected.tensors), given = names_of(actual.tensors);
  if (found.empty() && wanted != given)
    found.push_back("the order of the tensors is " + joined(given, ", ") + " instead of " + joined(wanted, ", "));
  if (expected.rounding != actual.rounding)
    found.push_back("rounding is " + shown(actual.rounding) + " instead of " + shown(expected.rounding));
  return found;
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
    throw InvalidInput(what + " '" + spec.name + "' must be finite, but is " + std::to_string(*bad) + " at element " +
                       std::to_string(bad - values.begin()));
}

}  // namespace

Sizes check(const std::vector<TensorSpec>& specs, const Tensors& tensors, const std::string& what, Sizes known) {
  std::string expected;
  for (const auto& spec : specs) expected += (expected.empty() ? "" : "; ") + to_string(spec);
  if (expected.empty()) expected = "no " + what;
  for (const auto& spec : specs)
    if (!tensors.contains(spec.name))
      throw InvalidInput(what + " '" + spec.name + "' is missing; expected " + expected);
  for (const auto& [name, tensor] : tensors)
    if (std::ranges::find(specs, name, &TensorSpec::name) == specs.end())
      throw InvalidInput("unknown " + what + " '" + name + "'; expected " + expected);
  for (const auto& spec : specs) check_one(spec, tensors.at(spec.name), what, known);
  return known;
}

}  // namespace deploy_snn
