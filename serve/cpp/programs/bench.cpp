// `bench`: microseconds per step, with the slowest ones: a control loop depends on its slowest steps.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>

#include <nlohmann/json.hpp>

#include "host.hpp"

namespace deploy_snn {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kRecorded = 1000;  // inputs are drawn before the measurement and used repeatedly
constexpr std::int64_t kSequence = 1000;

double microseconds(Clock::duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

// Random inputs: spikes with probability 0.1 for drives, uniform numbers for noise.
Tensors random_inputs(const Contract& contract, std::int64_t steps, std::int64_t batch) {
  std::mt19937 generator(0);
  std::uniform_real_distribution<float> uniform(0, 1);
  Tensors inputs;
  for (const auto& spec : contract.inputs) {
    auto tensor = Tensor::zeros(spec.dtype, spec.in_time().shape({{"time", steps}, {"batch", batch}}));
    for (auto& value : tensor.floats()) {
      const auto random = uniform(generator);
      value = spec.role == Role::noise ? random : random < 0.1f ? 1.0f : 0.0f;
    }
    inputs[spec.name] = std::move(tensor);
  }
  return inputs;
}

}  // namespace

int bench(Program& program, const Bundle& bundle, const Arguments& arguments) {
  const auto& contract = program.contract();
  const auto inputs = random_inputs(contract, kRecorded, arguments.batch);
  std::vector<std::pair<std::span<const float>, std::span<float>>> copies;
  program.start(bundle.initial_state(arguments.batch));
  for (const auto& spec : contract.inputs) copies.emplace_back(inputs.at(spec.name).floats(), program.input(spec.name));
  std::vector<double> times(static_cast<std::size_t>(arguments.steps));
  const auto step = [&](std::size_t i) {
    for (const auto& [sequence, now] : copies)
      std::copy_n(sequence.begin() + static_cast<long>(i % kRecorded * now.size()), now.size(), now.begin());
    const auto begin = Clock::now();
    program.step();
    return microseconds(Clock::now() - begin);
  };
  for (std::size_t i = 0; i < std::min<std::size_t>(times.size(), kRecorded); ++i) step(i);
  for (std::size_t i = 0; i < times.size(); ++i) times[i] = step(i);
  std::ranges::sort(times);
  const auto quantile = [&](double part) {
    return times[static_cast<std::size_t>(part * static_cast<double>(times.size() - 1))];
  };

  const auto sequence = random_inputs(contract, kSequence, arguments.batch);
  double best = 0;
  for (int repeat = 0; repeat < 7; ++repeat) {  // the first ones load and warm up the runtime
    const auto begin = Clock::now();
    program.rollout(sequence);
    const auto each = microseconds(Clock::now() - begin) / kSequence;
    best = repeat == 0 ? each : std::min(best, each);
  }
  const nlohmann::ordered_json found = {
      {"bundle", bundle.name()}, {"steps", arguments.steps}, {"batch", arguments.batch}, {"p50", quantile(0.5)},
      {"p99", quantile(0.99)},   {"p999", quantile(0.999)},  {"largest", times.back()},  {"sequence", best}};
  if (arguments.json)
    std::printf("%s\n", found.dump().c_str());
  else
    std::printf(
        "%s, batch %lld, %lld steps: p50 %.1f us, p99 %.1f us, p99.9 %.1f us, largest %.1f us; in a sequence %.2f us "
        "per "
        "step\n",
        bundle.name().c_str(), static_cast<long long>(arguments.batch), static_cast<long long>(arguments.steps),
        quantile(0.5), quantile(0.99), quantile(0.999), times.back(), best);
  return 0;
}

}  // namespace deploy_snn
