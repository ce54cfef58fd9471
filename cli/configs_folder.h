// Where the experiments are that come with the program.
#pragma once

#include <filesystem>

namespace sinkbench {

/// The folder configs/ below the current one, of the checkout that the program was built in, or of
/// its installation; empty where there is none.
std::filesystem::path configs_folder();

}  // namespace sinkbench
