// Start one program object many times: with another batch, the same batch again, another state, after an odd and an
// even number of steps.
//   restart BUNDLE c|torch|aoti|ort ONNXRUNTIME      status 1, and the place, if a result differs from the golden trace
#include <algorithm>
#include <cstdio>
#include <string>

#include <deploy_snn/program.hpp>

using namespace deploy_snn;

namespace {

// Row `row` of a tensor [T, 2, ...], as [T, 1, ...], or all of it.
Tensor rows(const Tensor& tensor, int row) {
  if (row < 0) return tensor;
  auto shape = tensor.shape;
  shape[1] = 1;
  auto one = Tensor::zeros(tensor.dtype, shape);
  const auto width = one.data.size() / static_cast<std::size_t>(shape[0]);
  for (std::size_t step = 0; step < static_cast<std::size_t>(shape[0]); ++step)
    std::copy_n(tensor.data.begin() + static_cast<long>((2 * step + static_cast<std::size_t>(row)) * width), width,
                one.data.begin() + static_cast<long>(step * width));
  return one;
}

// Run `steps` steps from the initial state and compare every output.
bool agrees(Program& program, const Bundle& bundle, const Golden& golden, int row, std::int64_t steps) {
  program.start(bundle.initial_state(row < 0 ? 2 : 1));
  const auto& contract = bundle.contract();
  for (std::int64_t step = 0; step < steps; ++step) {
    for (const auto& spec : contract.inputs)
      std::ranges::copy(at(rows(golden.inputs.at(spec.name), row), step).floats(), program.input(spec.name).begin());
    program.step();
    for (const auto& spec : contract.outputs)
      if (program.output(spec.name) != at(rows(golden.outputs.at(spec.name), row), step)) {
        std::printf("%s differs in row %d at step %lld\n", spec.name.c_str(), row, static_cast<long long>(step));
        return false;
      }
  }
  const auto state = program.state();
  for (const auto& spec : contract.states)
    if (state.tensors().at(spec.name) != at(rows(golden.states.at(spec.name), row), steps - 1)) {
      std::printf("the state %s differs in row %d after %lld steps\n", spec.name.c_str(), row,
                  static_cast<long long>(steps));
      return false;
    }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const Bundle bundle(argv[1]);
  const std::string runtime = argv[2];
  const auto program = runtime == "c"       ? open_c(bundle)
                       : runtime == "torch" ? open_torch(bundle)
                       : runtime == "aoti"  ? open_aoti(bundle)
                                            : open_onnxruntime(bundle, {.onnxruntime = argv[3]});
  const auto golden = bundle.golden();
  for (const auto& [row, steps] : {std::pair{-1, 7}, {-1, 40}, {0, 9}, {1, 200}, {-1, 33}, {1, 1}})
    if (!agrees(*program, bundle, golden, row, steps)) return 1;
}
