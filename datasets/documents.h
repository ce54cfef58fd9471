// The documents of a text dataset, one at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sinkbench {

class JsonRecords;

struct Document {
  std::string
      text;  // valid UTF-8 without a byte order mark, otherwise as it stands (line ends too)
  std::string title;  // a JSON record's "title" where that is a string, else the file's stem
  std::filesystem::path file;
  int64_t line = 0;  // of a JSON record, from 1; else 0
};

/// What becomes of bytes that are no UTF-8. Each maximal ill-formed subpart becomes one U+FFFD
/// (base/utf8.h); with `refuse`, a file with more than one such byte in 1,000 characters of its
/// documents is an error, since it's no UTF-8 text then but something else.
enum class InvalidBytes { refuse, replace };

/// How documents are found in files.
struct DocumentOptions {
  std::string field = "text";  // of a JSON record, with the text
  bool subfolders = false;     // whether the folders in a folder are read
  InvalidBytes invalid = InvalidBytes::refuse;
  auto operator<=>(const DocumentOptions&) const = default;
};

/// What was read of a file, counted over its documents.
struct FileFacts {
  std::filesystem::path file;
  int64_t documents = 0;
  int64_t characters = 0;        // code points
  int64_t replaced_bytes = 0;    // that were no UTF-8 (in UTF-16: lone surrogates)
  int64_t crlf_line_ends = 0;    // which are kept as they are
  int64_t byte_order_marks = 0;  // at the start of the file or of a document: left out
};

/// Reads the documents of a list of paths as one sequence. A path is
///   - a folder: its texts, as read_text_folder finds them (datasets/text_folder.h),
///   - a file or a pipe, decompressed and decoded as TextFile does (datasets/text_file.h). By its
///     name (but for case and a compression's suffix) it holds
///       .jsonl, .ndjson: a JSON object a line with the text in `field`; blank lines are passed
///       over .json: such objects, one a line or over several, or an array of them .txt: one
///       document
///     and with any other name objects if it begins with one that has the field, else one document.
/// Files are read once, and one document is in memory at a time.
///
/// InputError names the file, the line, the field and the value. The constructor throws it for
/// paths; next() and finish() for what a file holds.
class DocumentReader {
 public:
  explicit DocumentReader(std::vector<std::filesystem::path> paths, DocumentOptions options = {});
  DocumentReader(DocumentReader&&) noexcept;
  DocumentReader& operator=(DocumentReader&&) noexcept;
  ~DocumentReader();

  /// The files that there are, folders unfolded, in order.
  const std::vector<std::filesystem::path>& files() const { return files_; }

  /// The next document, or nothing at the end.
  std::optional<Document> next();

  /// Ends the reading where it is: the last file is judged by what was read of it.
  void finish();

  /// The files that were read, the last one perhaps in part.
  const std::vector<FileFacts>& read() const { return read_; }

  /// What a user should know of them, a line each; nothing where texts are plain UTF-8 as it
  /// should be.
  std::vector<std::string> notes() const;

 private:
  std::optional<Document> next_in_file();
  std::optional<Document> next_record();
  std::string take_text(std::string bytes);

  std::vector<std::filesystem::path> files_;
  DocumentOptions options_;
  size_t next_file_ = 0;
  std::unique_ptr<JsonRecords> records_;  // of the file of JSON being read
  std::vector<FileFacts> read_;
  std::vector<std::string> folder_notes_, utf16_, misnamed_, json_as_text_;
};

}  // namespace sinkbench
