// Compiled C: a shared library built from the bundle's model.c. The state is an array of structs, one for each row,
// which the library updates in place; a step allocates nothing.
#include <dlfcn.h>

#include <cstdlib>
#include <limits>
#include <memory>

#include <deploy_snn/errors.hpp>
#include <deploy_snn/program.hpp>

#include "cpu.hpp"
#include "files.hpp"

namespace deploy_snn {

namespace {

constexpr std::size_t kAlignment = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte, Free>;

// Zeroed memory, aligned for vector instructions.
Memory allocate(std::size_t bytes) {
  bytes = (bytes / kAlignment + 1) * kAlignment;
  Memory memory(static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes)));
  if (!memory) throw std::bad_alloc();
  std::fill_n(memory.get(), bytes, std::byte{});
  return memory;
}

// Convert a number of rows or steps to the library's type.
std::int32_t narrow(std::int64_t number, const char* what) {
  if (number > std::numeric_limits<std::int32_t>::max())
    throw InvalidInput(std::to_string(number) + " " + what + ": format c takes fewer than 2^31");
  return static_cast<std::int32_t>(number);
}

// The functions of a model, whose names begin with its prefix. Structs of pointers are arrays of pointers here, in the
// contract's order.
class Library {
 public:
  Library(const std::filesystem::path& path, const std::string& prefix)
      : path_(path), prefix_(prefix), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!handle_) throw InvalidInput(std::string("the library cannot be loaded: ") + dlerror());
    contract = symbol<const char*>("contract");
    state_size = symbol<std::size_t (*)()>("state_size");
    run = symbol<void (*)(void*, std::int32_t, std::int32_t, const void*, const void*)>("run");
  }

  template <class Pointer>
  Pointer symbol(const std::string& name) const {
    if (const auto found = optional_symbol<Pointer>(name)) return found;
    throw InvalidInput(path_.string() + " differs from the manifest: it has no function " + prefix_ + "_" + name);
  }

  // nullptr if the library does not have it.
  template <class Pointer>
  Pointer optional_symbol(const std::string& name) const {
    return reinterpret_cast<Pointer>(dlsym(handle_, (prefix_ + "_" + name).c_str()));
  }

  const char* contract;
  std::size_t (*state_size)();
  void (*run)(void* states, std::int32_t rows, std::int32_t steps, const void* inputs, const void* outputs);

 private:
  const std::filesystem::path path_;
  const std::string prefix_;
  void* const handle_;  // never closed: another program of this process may run the same library
};

class CProgram final : public Program {
 public:
  CProgram(const Bundle& bundle, Library library, const std::string& weights)
      : Program(bundle.contract()), library_(std::move(library)), row_bytes_(library_.state_size()) {
    if (!contract().states.empty()) {
      store_ = library_.symbol<decltype(store_)>("store_state");
      load_ = library_.symbol<decltype(load_)>("load_state");
    }
    normalise_ = library_.optional_symbol<decltype(normalise_)>("normalise");
    if (weights.empty()) return;
    set_weights_ = library_.symbol<decltype(set_weights_)>("set_weights");
    weights_ = allocate(weights.size());
    std::ranges::copy(std::as_bytes(std::span(weights)), weights_.get());
  }

  State state() const override {
    Tensors tensors;
    std::vector<void*> to;
    for (const auto& spec : contract().states) {
      auto& tensor = tensors[spec.name] = Tensor::zeros(spec.dtype, spec.shape({{"batch", batch()}}));
      to.push_back(tensor.data.data());
    }
    if (!to.empty()) store_(states_.get(), static_cast<std::int32_t>(batch()), to.data());
    return {contract(), std::move(tensors), batch()};
  }

 private:
  void start_from(const State& state) override {
    if (bound_for_ != batch()) bind();
    std::vector<const void*> from;
    for (const auto& spec : contract().states) from.push_back(state.tensors().at(spec.name).data.data());
    if (!from.empty() && load_(states_.get(), static_cast<std::int32_t>(batch()), from.data()))
      throw InvalidInput("a state that holds spikes has an element that is neither 0 nor 1");
  }

  void bind() {
    const auto rows = narrow(batch(), "rows");
    states_ = allocate(static_cast<std::size_t>(rows) * row_bytes_);
    if (set_weights_)
      for (std::int32_t row = 0; row < rows; ++row)
        set_weights_(states_.get() + static_cast<std::size_t>(row) * row_bytes_, weights_.get());
    input_pointers_.clear();
    output_pointers_.clear();
    for (const auto& input : inputs()) input_pointers_.push_back(input.data.data());
    for (auto& output : outputs()) output_pointers_.push_back(output.data.data());
    bound_for_ = batch();
  }

  void take_step() override {
    library_.run(states_.get(), static_cast<std::int32_t>(batch()), 1, input_pointers_.data(), output_pointers_.data());
  }

  void scale_weights() override {
    if (!normalise_) return Program::scale_weights();
    normalise_(states_.get(), static_cast<std::int32_t>(batch()));
  }

  Tensors roll(const Tensors& inputs, std::int64_t steps) override {
    std::vector<const void*> from;
    for (const auto& spec : contract().inputs) from.push_back(inputs.at(spec.name).data.data());
    Tensors outputs;
    std::vector<void*> to;
    for (const auto& spec : contract().outputs) {
      auto& output = outputs[spec.name];
      output = Tensor::zeros(spec.dtype, spec.in_time().shape({{"time", steps}, {"batch", batch()}}));
      to.push_back(output.data.data());
    }
    library_.run(states_.get(), static_cast<std::int32_t>(batch()), narrow(steps, "steps"), from.data(), to.data());
    return outputs;
  }

  const Library library_;
  const std::size_t row_bytes_;
  void (*store_)(const void* states, std::int32_t rows, const void* to) = nullptr;
  int (*load_)(void* states, std::int32_t rows, const void* from) = nullptr;
  void (*set_weights_)(void* state, const void* weights) = nullptr;
  void (*normalise_)(void* states, std::int32_t rows) = nullptr;
  Memory weights_, states_;
  std::vector<const void*> input_pointers_;
  std::vector<void*> output_pointers_;
  std::int64_t bound_for_ = 0;
};

// The library to load: the caller's, or the bundle's fastest for this CPU.
std::filesystem::path library_of(const Bundle& bundle, const Options& options) {
  if (!options.library.empty()) {
    if (!std::filesystem::exists(options.library))
      throw Unavailable("the library cannot be loaded: " + options.library + " does not exist");
    return std::filesystem::absolute(options.library);
  }
  std::string names;
  for (const auto& cpu : cpus_here()) {
    const auto name = "model." + cpu + ".so";
    if (bundle.holds(name)) return std::filesystem::absolute(bundle.file(name));
    names += (names.empty() ? "" : ", ") + name;
  }
  throw Unavailable(bundle.file("model.c").string() + " is not compiled for this CPU: the bundle has none of " + names +
                    "; export it with a library, or build one and pass its path");
}

}  // namespace

std::unique_ptr<Program> open_c(const Bundle& bundle, const Options& options) {
  if (options.device != "cpu" && options.device != "cuda")
    throw InvalidInput("unknown device '" + options.device + "'; choose from cpu, cuda");
  if (options.device != "cpu") throw Unavailable("device " + options.device + ": format c is compiled for the CPU");
  bundle.file("model.c");
  const auto& model = bundle.compiled();
  const auto path = library_of(bundle, options);
  Library library(path, model.prefix);
  bundle.check_contract(Contract::parse(library.contract, path.string()), path);
  return std::make_unique<CProgram>(bundle, std::move(library),
                                    model.weights.empty() ? "" : read_file(bundle.file(model.weights)));
}

}  // namespace deploy_snn
