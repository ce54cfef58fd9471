#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace sinkbench {

/// Writes NLLs as they come, raw little-endian float32, into `path`.part; `finish` puts the whole
/// file in place. Without it the part stays, for `NllFile(path, count)` to go on from. Throws
/// DiskError or InputError naming the path and the reason.
class NllFile {
 public:
  /// Begins with the first `count` values of what an earlier one left, or finished; 0: afresh.
  /// Throws InputError where there are not so many.
  explicit NllFile(const std::filesystem::path& path, int64_t count = 0);
  ~NllFile();
  NllFile(const NllFile&) = delete;
  NllFile& operator=(const NllFile&) = delete;

  void append(std::span<const float> nll);
  /// What has been appended so far is on the disk, not only on its way there.
  void sync();
  void finish();

 private:
  void flush();
  std::filesystem::path path_, part_;
  std::vector<float> pending_;
  int fd_ = -1;
};

/// The unfinished file of that name, if there is one.
std::filesystem::path nll_part(const std::filesystem::path& path);

/// The whole of such a file.
std::vector<float> read_nll_file(const std::filesystem::path& path);

}  // namespace sinkbench
