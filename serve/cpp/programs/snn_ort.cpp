// snn-ort: a bundle in ONNX Runtime.
#include "host.hpp"

int main(int argc, char** argv) {
  using namespace deploy_snn;
  const Host host{
      "snn-ort",
      {{"onnxruntime", "LIBRARY", [](Arguments& a, const std::string& text) { a.options.onnxruntime = text; }},
       {"operators", "LIBRARY", [](Arguments& a, const std::string& text) { a.options.operators = text; }}},
      [](const Bundle& bundle, const Arguments& a) { return open_onnxruntime(bundle, a.options); },
  };
  return main_of(host, argc, argv);
}
