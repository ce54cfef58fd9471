#pragma once

#include <cstdio>
#include <filesystem>
#include <span>
#include <vector>

namespace sinkbench {

/// Writes NLLs as they come, raw little-endian float32, beside `path`; `finish` puts the whole file
/// in place. Without it nothing is left. Throws InputError naming the path and the reason.
class NllFile {
 public:
  explicit NllFile(const std::filesystem::path& path);
  ~NllFile();
  NllFile(const NllFile&) = delete;
  NllFile& operator=(const NllFile&) = delete;

  void append(std::span<const float> nll);
  void finish();

 private:
  [[noreturn]] void fail(const char* what) const;
  std::filesystem::path path_;
  std::filesystem::path part_;
  std::FILE* file_ = nullptr;
};

/// The whole of such a file.
std::vector<float> read_nll_file(const std::filesystem::path& path);

}  // namespace sinkbench
