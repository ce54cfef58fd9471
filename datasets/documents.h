// The documents of a text dataset, one at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sinkbench {

struct Document {
  std::string text;   // valid UTF-8, otherwise as it stands in the file (line ends, BOM and all)
  std::string title;  // a JSONL record's "title" where that is a string, else the file's stem
  std::filesystem::path file;
  int64_t line = 0;  // in a JSONL file from 1, else 0
};

/// Reads the documents of a list of paths as one sequence. A path is
///   - a folder: its .txt and .txt.zst files, by name in byte order (the layout of PG-19),
///   - a .jsonl or .jsonl.zst file: a JSON object a line with the text in `text_field`; blank
///     lines are passed over,
///   - any other file: one document, decompressed first where its name ends in .zst.
/// Bytes become text by to_valid_utf8 (datasets/utf8.h). One document is in memory at a time.
///
/// InputError names the file, the line, the field and the value. The constructor throws it for a
/// path that is missing or a folder without texts; next() for what a file holds.
class DocumentReader {
 public:
  explicit DocumentReader(std::vector<std::filesystem::path> paths,
                          std::string text_field = "text");
  DocumentReader(DocumentReader&&) noexcept;
  DocumentReader& operator=(DocumentReader&&) noexcept;
  ~DocumentReader();

  /// The files that are read, folders unfolded, in order.
  const std::vector<std::filesystem::path>& files() const { return files_; }

  /// The next document, or nothing at the end.
  std::optional<Document> next();

 private:
  class Lines;

  std::optional<Document> next_record();

  std::vector<std::filesystem::path> files_;
  std::string text_field_;
  size_t next_file_ = 0;
  std::unique_ptr<Lines> lines_;  // of the JSONL file being read
};

}  // namespace sinkbench
