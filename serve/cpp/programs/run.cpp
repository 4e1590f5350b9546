// `run`: run recorded inputs through a bundle, from a given state, and save the outputs and the last state.
#include <algorithm>
#include <cstdio>

#include <deploy_snn/errors.hpp>

#include "../src/files.hpp"
#include "host.hpp"

namespace deploy_snn {

namespace {

// Run samples of `length` steps, one after the other. After each whole sample the weights are normalised.
Tensors run_samples(Program& program, const Tensors& inputs, const Sizes& sizes, std::int64_t length) {
  const auto& contract = program.contract();
  const auto steps = sizes.at("time");
  Tensors outputs;
  for (const auto& spec : contract.outputs) outputs[spec.name] = Tensor::zeros(spec.dtype, spec.in_time().shape(sizes));
  for (std::int64_t first = 0; first < steps; first += length) {
    const auto count = std::min(length, steps - first);
    auto part_sizes = sizes;
    part_sizes["time"] = count;
    Tensors part;
    for (const auto& spec : contract.inputs) {
      auto& tensor = part[spec.name] = Tensor::zeros(spec.dtype, spec.in_time().shape(part_sizes));
      const auto& whole = inputs.at(spec.name).data;
      const auto row = static_cast<std::int64_t>(whole.size()) / steps;
      std::copy_n(whole.begin() + first * row, count * row, tensor.data.begin());
    }
    for (const auto& [name, tensor] : program.rollout(part)) {
      auto& whole = outputs.at(name).data;
      const auto row = static_cast<std::int64_t>(whole.size()) / steps;
      std::copy(tensor.data.begin(), tensor.data.end(), whole.begin() + first * row);
    }
    if (count == length) program.normalise();
  }
  return outputs;
}

}  // namespace

int run(Program& program, const Bundle& bundle, const Arguments& arguments) {
  if (arguments.input.empty() || arguments.output.empty())
    throw InvalidInput("run needs --input FILE and --output FILE");
  check_writable(arguments.output);
  if (!arguments.state_out.empty()) check_writable(arguments.state_out);
  const auto& contract = program.contract();
  const auto inputs = read_tensors(arguments.input);
  const auto sizes = check(in_time(contract.inputs), inputs, "input");
  const auto batch = sizes.at("batch");
  const auto start =
      arguments.state_in.empty() ? bundle.initial_state(batch) : State::load(contract, arguments.state_in, batch);
  check(contract.states, start.tensors(), "state", {{"batch", batch}});
  program.start(start);
  const auto outputs = arguments.normalise_every ? run_samples(program, inputs, sizes, arguments.normalise_every)
                                                 : program.rollout(inputs);
  write_tensors(arguments.output, outputs);
  if (!arguments.state_out.empty()) program.state().save(arguments.state_out);
  std::size_t spikes = 0;
  for (const auto& spec : contract.outputs)
    if (spec.role == Role::spikes)
      for (bool spike : outputs.at(spec.name).bools()) spikes += spike;
  std::printf("%lld steps of a batch of %lld: %zu spikes\n", static_cast<long long>(sizes.at("time")),
              static_cast<long long>(batch), spikes);
  return 0;
}

}  // namespace deploy_snn
