// The records of a file of JSON, as text, one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "datasets/text_file.h"

namespace sinkbench {

/// Takes a file apart without looking into the records. One is in memory at a time, and a piece of
/// the file.
class JsonRecords {
 public:
  enum class Layout {
    lines,   // a record a line; blank ones are passed over
    values,  // values one after the other with white space between (one a line or over several),
             // or the elements of one array
  };
  JsonRecords(TextFile file, Layout layout) : file_(std::move(file)), layout_(layout) {}

  struct Record {
    std::string json;  // which need not be valid, nor UTF-8
    int64_t line;      // that it begins on, from 1
  };
  /// The next one, or nothing at the end. InputError where an array isn't well-formed.
  std::optional<Record> next() { return layout_ == Layout::lines ? next_line() : next_value(); }

  const TextFile& file() const { return file_; }

 private:
  std::optional<Record> next_line();
  std::optional<Record> next_value();
  /// The character at `start_`, or nothing at the end.
  std::optional<char> peek();
  std::optional<char> peek_beyond_space();
  void pass();
  /// Where the value ends that begins at `start_`.
  size_t end_of_value();
  bool read_more();
  [[noreturn]] void fail(const char* what) const;

  TextFile file_;
  Layout layout_;
  std::string buffer_;
  size_t start_ = 0;  // in the buffer, of what comes next
  int64_t line_ = 1;  // that this is on
  enum class Place { before, outside, in_array, behind_array } place_ = Place::before;
  bool first_element_ = true;
};

}  // namespace sinkbench
