// `check`: compare a bundle's golden trace with this host's results, step by step and as one sequence.
#include <cmath>
#include <cstdio>
#include <optional>

#include "host.hpp"

namespace deploy_snn {

namespace {

double value_at(const Tensor& tensor, std::size_t i) {
  return tensor.dtype == DType::float32 ? tensor.floats()[i] : tensor.bools()[i];
}

bool equal(double expected, double actual, double tolerance) {
  return expected == actual || std::abs(expected - actual) <= tolerance + tolerance * std::abs(expected);
}

// The index of an element in a tensor, such as [1, 7].
std::string place(const Shape& shape, std::size_t index) {
  Shape indices(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 0; index /= static_cast<std::size_t>(shape[axis]))
    indices[axis] = static_cast<std::int64_t>(index % static_cast<std::size_t>(shape[axis]));
  return to_string(indices);
}

// The first difference between two tensors, in words.
std::optional<std::string> difference(const std::string& name, const Tensor& expected, const Tensor& actual,
                                      float tolerance) {
  if (expected.dtype != actual.dtype || expected.shape != actual.shape)
    return name + " is " + to_string(actual.dtype) + " " + to_string(actual.shape) + "; expected " +
           to_string(expected.dtype) + " " + to_string(expected.shape);
  // Spikes are compared exactly; the tolerance is for floats.
  const double allowed = expected.dtype == DType::boolean ? 0 : tolerance;
  for (std::size_t i = 0; i < expected.data.size() / size_of(expected.dtype); ++i) {
    const auto wanted = value_at(expected, i), given = value_at(actual, i);
    if (!equal(wanted, given, allowed)) {
      char text[80];
      std::snprintf(text, sizeof text, ": expected %.9g, actual %.9g", wanted, given);
      return name + " differs at " + place(expected.shape, i) + text;
    }
  }
  return std::nullopt;
}

std::optional<std::string> step_by_step(Program& program, const Golden& golden, const State& start, float tolerance) {
  const auto& contract = program.contract();
  const auto steps = golden.inputs.at(contract.inputs[0].name).shape[0];
  program.start(start);
  for (std::int64_t step = 0; step < steps; ++step) {
    for (const auto& spec : contract.inputs) {
      const auto now = at(golden.inputs.at(spec.name), step);
      std::ranges::copy(now.floats(), program.input(spec.name).begin());
    }
    program.step();
    const auto state = program.state();
    std::optional<std::string> found;
    for (const auto& spec : contract.outputs)
      if (!found)
        found = difference(spec.name, at(golden.outputs.at(spec.name), step), program.output(spec.name), tolerance);
    for (const auto& spec : contract.states)
      if (!found)
        found = difference("next." + spec.name, at(golden.states.at(spec.name), step), state.tensors().at(spec.name),
                           tolerance);
    if (found) return "step by step: at step " + std::to_string(step) + " " + *found;
  }
  return std::nullopt;
}

std::optional<std::string> as_a_sequence(Program& program, const Golden& golden, const State& start, float tolerance) {
  const auto& contract = program.contract();
  program.start(start);
  const auto outputs = program.rollout(golden.inputs);
  const auto state = program.state();
  std::optional<std::string> found;
  for (const auto& spec : contract.outputs)
    if (!found) found = difference(spec.name, golden.outputs.at(spec.name), outputs.at(spec.name), tolerance);
  for (const auto& spec : contract.states) {
    const auto& states = golden.states.at(spec.name);
    if (!found)
      found = difference("the last " + spec.name, at(states, states.shape[0] - 1), state.tensors().at(spec.name),
                         tolerance);
  }
  if (found) return "as a sequence: " + *found;
  return std::nullopt;
}

}  // namespace

int check(Program& program, const Bundle& bundle, const Arguments& arguments) {
  const auto golden = bundle.golden();
  const auto& first = program.contract().inputs[0];
  const auto& shape = golden.inputs.at(first.name).shape;
  const auto axis = first.batch_axis();
  const auto batch = axis ? shape[1 + *axis] : 1;
  const State start(bundle.contract(), golden.start, batch);
  int status = 0;
  // The sequence comes first: it is a single call, so a program that does not reset all its buffers (two sets, used in
  // turn) fails in the steps after it.
  for (auto* compare : {as_a_sequence, step_by_step})
    if (const auto found = compare(program, golden, start, arguments.tolerance)) {
      std::printf("%s, %s\n", bundle.name().c_str(), found->c_str());
      status = 1;
    }
  if (status == 0)
    std::printf("%s: %lld steps of a batch of %lld, step by step and as a sequence: all equal\n", bundle.name().c_str(),
                static_cast<long long>(shape[0]), static_cast<long long>(batch));
  return status;
}

}  // namespace deploy_snn
