#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eval/results/results.h"

namespace sinkbench {

enum class NllPrecision { float32, float64 };

/// ".f32" or ".f64": what an NLL file's name ends with, and so how it is read.
std::string nll_extension(NllPrecision precision);

/// Writes NLLs as they come, raw little-endian numbers, into `path`.part; `finish` puts the whole
/// file in place. Without it the part stays, for `NllFile(path, precision, count)` to go on from.
/// Throws DiskError or InputError naming the path and the reason.
class NllFile {
 public:
  /// Begins with the first `count` values of what an earlier one left, or finished; 0: afresh.
  /// Throws InputError where there are not so many.
  NllFile(const std::filesystem::path& path, NllPrecision precision, int64_t count = 0);
  ~NllFile();
  NllFile(const NllFile&) = delete;
  NllFile& operator=(const NllFile&) = delete;

  void append(std::span<const double> nll);
  /// What has been appended so far is on the disk, not only on its way there.
  void sync();
  void finish();

 private:
  void flush();
  std::filesystem::path path_, part_;
  NllPrecision precision_;
  std::vector<std::byte> pending_;
  int fd_ = -1;
};

/// The unfinished file of that name, if there is one.
std::filesystem::path nll_part(const std::filesystem::path& path);

/// The whole of such a file, finished or not, its precision known by its name; a name without one
/// of the two extensions is float32.
std::vector<double> read_nll_file(const std::filesystem::path& path);
/// The same of a finished one, whose numbers are those of the result; InputError where they aren't.
std::vector<double> read_nll_file(const std::filesystem::path& path,
                                  const PerplexityResult& perplexity);
/// Throws an InputError that begins with `place` where these aren't as many as were scored, or
/// have another mean than the result.
void check_nlls(std::span<const double> nll, const PerplexityResult& perplexity,
                const std::string& place);

}  // namespace sinkbench
