// snn-executorch: a bundle in ExecuTorch, without libtorch.
#include "host.hpp"

int main(int argc, char** argv) {
  using namespace deploy_snn;
  const Host host{
      "snn-executorch",
      {{"xnnpack", nullptr, [](Arguments& a, const std::string&) { a.options.xnnpack = true; }}},
      [](const Bundle& bundle, const Arguments& a) { return open_executorch(bundle, a.options); },
  };
  return main_of(host, argc, argv);
}
