// What can go wrong, by whose fault: the exit statuses of the programs follow from it.
#pragma once

#include <stdexcept>

namespace deploy_snn {

// An input or a file that breaks the contract. The programs end with status 2.
struct InvalidInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A runtime, provider or CPU that was asked for and is not here. The programs end with status 3.
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace deploy_snn
