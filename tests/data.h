// Where tests find their data.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace sinkbench::test {

/// Small data that is committed: below tests/data of the checkout that was built, or the folder in
/// the environment variable SINKBENCH_TEST_DATA.
inline std::filesystem::path data(const std::filesystem::path& name) {
  const char* root = std::getenv("SINKBENCH_TEST_DATA");
  return std::filesystem::path(root != nullptr ? root : SINKBENCH_TEST_DATA) / name;
}

/// Larger data that isn't: `name` below the folder in the environment variable SINKBENCH_DATA,
/// or nothing where it is unset or the file is missing. A test that needs it WARNs and returns.
inline std::optional<std::filesystem::path> shared_data(const std::filesystem::path& name) {
  const char* root = std::getenv("SINKBENCH_DATA");
  if (root == nullptr) return std::nullopt;
  std::filesystem::path path = std::filesystem::path(root) / name;
  if (!std::filesystem::exists(path)) return std::nullopt;
  return path;
}

}  // namespace sinkbench::test
