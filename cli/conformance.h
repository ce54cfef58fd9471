// Somebody else's numbers against a conformance kit.
#pragma once

#include <cstdint>
#include <string>

#include "cli/commands.h"

namespace sinkbench {

struct ConformanceOptions {
  std::string kit, policy, nll;
  std::string model;        ///< for the cause; empty: where the kit says that it was
  double tolerance = 1e-3;  ///< nats
  std::string device = "cpu";
  int64_t threads = 0;  ///< 0: all cores
  bool quiet = false;
};

/// Prints whether and from which token on they depart, and the likely cause. exit_ok: equal;
/// exit_differs: they depart. InputError for bad input.
ExitStatus compare_with_kit(const ConformanceOptions& options);

}  // namespace sinkbench
