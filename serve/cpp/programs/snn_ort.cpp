// snn-ort: a bundle in ONNX Runtime.
#include "host.hpp"

int main(int argc, char** argv) {
  using namespace deploy_snn;
  const Host host{"snn-ort", "onnxruntime LIBRARY", [](const Bundle& bundle, const Arguments& arguments) {
                    return open_onnxruntime(bundle, arguments.options);
                  }};
  return main_of(host, argc, argv);
}
