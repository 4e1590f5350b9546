// The cost of a step compared with that of the ONNX Runtime call inside it: allocations and microseconds.
//   step_cost BUNDLE ONNXRUNTIME [STEPS]      prints JSON
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include <deploy_snn/program.hpp>

#include "../src/ort_library.hpp"

static std::atomic<long> allocations = 0;

// Count every allocation of the process, those of ONNX Runtime included.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void* malloc(std::size_t size) { return ++allocations, __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) { return ++allocations, __libc_calloc(count, size); }
void* realloc(void* old, std::size_t size) { return ++allocations, __libc_realloc(old, size); }
void* memalign(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
void* aligned_alloc(std::size_t alignment, std::size_t size) { return ++allocations, __libc_memalign(alignment, size); }
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  ++allocations;
  *out = __libc_memalign(alignment, size);
  return *out ? 0 : 12;
}
}

namespace {

using namespace deploy_snn;
using Clock = std::chrono::steady_clock;

struct Cost {
  double allocations, microseconds;
};

// The median of several rounds of many steps each.
template <class Step>
Cost cost_of(Step step, int steps) {
  constexpr int kRounds = 15;
  for (int i = 0; i < 100; ++i) step();
  const long before = allocations;
  std::array<double, kRounds> times{};
  for (auto& time : times) {
    const auto begin = Clock::now();
    for (int i = 0; i < steps; ++i) step();
    time = std::chrono::duration<double, std::micro>(Clock::now() - begin).count() / steps;
  }
  const double each = static_cast<double>(allocations - before) / kRounds / steps;
  std::ranges::sort(times);
  return {each, times[kRounds / 2]};
}

// The same session, called directly: bound once, from one set of buffers into another.
class Bare {
 public:
  Bare(const Bundle& bundle, const State& state)
      : session_(ort_environment(), bundle.file("step.onnx").c_str(), options()), binding_(session_) {
    const auto& contract = bundle.contract();
    const Sizes sizes{{"batch", state.batch()}};
    for (const auto& spec : contract.inputs)
      binding_.BindInput(spec.name.c_str(), value(Tensor::zeros(spec.dtype, spec.shape(sizes))));
    for (const auto& spec : contract.states)
      binding_.BindInput(spec.name.c_str(), value(state.tensors().at(spec.name)));
    for (const auto& spec : contract.outputs)
      binding_.BindOutput(spec.name.c_str(), value(Tensor::zeros(spec.dtype, spec.shape(sizes))));
    for (const auto& spec : contract.states)
      binding_.BindOutput(("next." + spec.name).c_str(), value(Tensor::zeros(spec.dtype, spec.shape(sizes))));
  }
  void step() { session_.Run(run_options_, binding_); }

 private:
  static Ort::SessionOptions options() {
    Ort::SessionOptions settings;
    settings.SetIntraOpNumThreads(1);
    settings.SetInterOpNumThreads(1);
    return settings;
  }
  Ort::Value value(Tensor tensor) {
    auto& kept = *kept_.emplace_back(std::make_unique<Tensor>(std::move(tensor)));
    const auto type =
        kept.dtype == DType::float32 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT : ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    return Ort::Value::CreateTensor(Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault), kept.data.data(),
                                    kept.data.size(), kept.shape.data(), kept.shape.size(), type);
  }
  std::vector<std::unique_ptr<Tensor>> kept_;
  Ort::Session session_;
  Ort::IoBinding binding_;
  Ort::RunOptions run_options_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int steps = argc > 3 ? std::atoi(argv[3]) : 1000;
  const Bundle bundle(argv[1]);
  const auto program = open_onnxruntime(bundle, {.onnxruntime = argv[2]});
  const auto start = bundle.initial_state(1);
  program->start(start);
  Bare bare(bundle, start);
  const auto theirs = cost_of([&] { bare.step(); }, steps);
  const auto ours = cost_of([&] { program->step(); }, steps);
  std::printf("{\"bare\": {\"allocations\": %.3f, \"us\": %.3f}, \"step\": {\"allocations\": %.3f, \"us\": %.3f}}\n",
              theirs.allocations, theirs.microseconds, ours.allocations, ours.microseconds);
}
