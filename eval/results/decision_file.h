// The decision log of a cell: what each round of a score policy evicted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sinkbench {

/// A round after token t that evicted tokens from a key head of a layer; places in the stream.
struct EvictionRecord {
  int64_t t = 0, layer = 0, head = 0;
  std::vector<int64_t> places = {};  ///< ascending
  auto operator<=>(const EvictionRecord&) const = default;
};

/// Zstandard-compressed lines of JSON, [t, layer, head, [places]], in the order of t, layer and
/// head. Written into `path`.part as NllFile is; each sync ends a frame, and a run that goes on
/// begins after one.
class DecisionFile {
 public:
  /// Begins with the first `bytes` of what an earlier one left, as its `sync` said; 0: afresh.
  /// Throws InputError where there is less.
  DecisionFile(const std::filesystem::path& path, int64_t bytes = 0);
  ~DecisionFile();
  DecisionFile(const DecisionFile&) = delete;
  DecisionFile& operator=(const DecisionFile&) = delete;

  void append(const EvictionRecord& record);
  /// What has been appended is on the disk; returns the file's length.
  int64_t sync();
  void finish();

 private:
  struct Compressor;
  void write(bool end_frame);
  std::filesystem::path path_, part_;
  std::unique_ptr<Compressor> compressor_;
  std::string pending_;
  int64_t bytes_ = 0;
  bool in_frame_ = false;
  int fd_ = -1;
};

/// Throws InputError where the file is none of these.
std::vector<EvictionRecord> read_decision_file(const std::filesystem::path& path);

/// Beside a cell's NLL file: ID.decisions.jsonl.zst.
std::filesystem::path decision_path(const std::filesystem::path& nll_file);

}  // namespace sinkbench
