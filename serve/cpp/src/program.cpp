#include <algorithm>
#include <stdexcept>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

namespace deploy_snn {

namespace {

// The index of a tensor, by name.
std::size_t find(const std::vector<TensorSpec>& specs, std::string_view name, const char* what) {
  const auto found = std::ranges::find(specs, name, &TensorSpec::name);
  if (found == specs.end()) {
    std::string known;
    for (const auto& spec : specs) known += (known.empty() ? "" : ", ") + spec.name;
    throw InvalidInput("unknown " + std::string(what) + " '" + std::string(name) + "'; choose from " + known);
  }
  return static_cast<std::size_t>(found - specs.begin());
}

}  // namespace

void Program::start(const State& state) {
  check(contract_.states, state.tensors(), "state");
  if (state.batch() != batch_) {
    inputs_.clear();
    outputs_.clear();
    for (const auto& spec : contract_.inputs)
      inputs_.push_back(Tensor::zeros(spec.dtype, spec.shape({{"batch", state.batch()}})));
    for (const auto& spec : contract_.outputs)
      outputs_.push_back(Tensor::zeros(spec.dtype, spec.shape({{"batch", state.batch()}})));
    batch_ = state.batch();
  }
  start_from(state);
}

void Program::check_started() const {
  if (!batch_) throw std::logic_error("call start(state) first");
}

std::span<float> Program::input(std::string_view name) {
  check_started();
  return inputs_[find(contract_.inputs, name, "input")].floats();
}

void Program::step() {
  check_started();
  take_step();
}

std::span<const bool> Program::spikes(std::string_view name) const { return output(name).bools(); }

const Tensor& Program::output(std::string_view name) const {
  check_started();
  return outputs_[find(contract_.outputs, name, "output")];
}

void Program::normalise() {
  check_started();
  scale_weights();
}

void Program::scale_weights() {
  throw InvalidInput("the program has no weights to normalise: no learning rule has a norm");
}

Tensors Program::rollout(const Tensors& inputs) {
  check_started();
  const auto sizes = check(in_time(contract_.inputs), inputs, "input", {{"batch", batch_}});
  return roll(inputs, sizes.at("time"));
}

Tensors Program::roll(const Tensors& inputs, std::int64_t steps) {
  Tensors outputs;
  for (const auto& spec : contract_.outputs)
    outputs[spec.name] = Tensor::zeros(spec.dtype, spec.in_time().shape({{"time", steps}, {"batch", batch_}}));
  for (std::int64_t step = 0; step < steps; ++step) {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const auto& sequence = inputs.at(contract_.inputs[i].name).data;
      auto& now = inputs_[i].data;
      std::copy_n(sequence.begin() + step * static_cast<std::ptrdiff_t>(now.size()), now.size(), now.begin());
    }
    take_step();
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const auto& now = outputs_[i].data;
      auto& sequence = outputs.at(contract_.outputs[i].name).data;
      std::copy(now.begin(), now.end(), sequence.begin() + step * static_cast<std::ptrdiff_t>(now.size()));
    }
  }
  return outputs;
}

}  // namespace deploy_snn
