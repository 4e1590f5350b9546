// The errors that a caller can expect, each with the exit status that the programs give for it.
#pragma once

#include <stdexcept>

namespace deploy_snn {

// An input or a file that breaks the contract. The programs end with status 2.
struct InvalidInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A requested runtime, provider or CPU is missing. The programs end with status 3.
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace deploy_snn
