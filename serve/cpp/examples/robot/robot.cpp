// A robot's control loop: read the sensors, step, act, once per dt. The state is saved at the end and loaded at the
// start.
//   robot BUNDLE STATE c|onnxruntime LIBRARY < sensors > actions     (frames: float32 drives in, one byte per neuron
//   out)
// LIBRARY is the compiled model, or ONNX Runtime.
#include <chrono>
#include <csignal>
#include <iostream>
#include <string>
#include <thread>

#include <deploy_snn/program.hpp>

volatile std::sig_atomic_t stop = 0;

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  struct sigaction on_term{};
  on_term.sa_handler = [](int) { stop = 1; };  // no SA_RESTART: the signal also ends a read of the sensors
  sigaction(SIGTERM, &on_term, nullptr);

  const deploy_snn::Bundle bundle(argv[1]);
  const std::filesystem::path saved = argv[2];
  const bool compiled = argv[3] == std::string("c");
  const auto brain = compiled ? deploy_snn::open_c(bundle, {.library = argv[4]})
                              : deploy_snn::open_onnxruntime(bundle, {.onnxruntime = argv[4]});
  brain->start(exists(saved) ? deploy_snn::State::load(bundle.contract(), saved) : bundle.initial_state(1));
  const auto sensors = std::as_writable_bytes(brain->input("x"));
  const auto actions = std::as_bytes(brain->spikes("s"));

  auto tick = std::chrono::steady_clock::now();
  const auto dt =
      std::chrono::round<std::chrono::nanoseconds>(std::chrono::duration<double, std::milli>(bundle.contract().dt));
  while (!stop && std::cin.read(reinterpret_cast<char*>(sensors.data()), static_cast<long>(sensors.size()))) {
    brain->step();
    std::cout.write(reinterpret_cast<const char*>(actions.data()), static_cast<long>(actions.size())).flush();
    std::this_thread::sleep_until(tick += dt);
  }
  brain->state().save(saved);
}
