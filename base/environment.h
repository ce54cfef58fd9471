// Settings from the environment.
#pragma once

#include <optional>

namespace sinkbench {

/// The variable's number, or nothing where it isn't set. InputError for what is no number of 0 or
/// more.
std::optional<double> number_from_environment(const char* name);

}  // namespace sinkbench
