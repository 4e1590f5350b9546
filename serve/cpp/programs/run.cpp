// `run`: run recorded inputs through a bundle, from a given state, and save the outputs and the last state.
#include <cstdio>

#include <deploy_snn/errors.hpp>

#include "../src/files.hpp"
#include "host.hpp"

namespace deploy_snn {

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
  const auto outputs = program.rollout(inputs);
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
