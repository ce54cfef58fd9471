#include "datasets/json_records.h"

#include <algorithm>

#include "base/error.h"

namespace sinkbench {

bool JsonRecords::read_more() {
  buffer_.erase(0, std::exchange(start_, 0));
  return file_.append_to(buffer_);
}

void JsonRecords::fail(const char* what) const {
  throw InputError::format("{}: line {}: {}", file_.path().string(), line_, what);
}

std::optional<JsonRecords::Record> JsonRecords::next_line() {
  for (;;) {
    size_t end = buffer_.find('\n', start_);
    while (end == std::string::npos) {
      const size_t searched = buffer_.size() - start_;
      if (!read_more()) break;
      end = buffer_.find('\n', searched);
    }
    const bool last = end == std::string::npos;
    Record record{buffer_.substr(start_, last ? end : end - start_), line_++};
    start_ = last ? buffer_.size() : end + 1;
    if (record.json.find_first_not_of(" \t\r") != std::string::npos) return record;
    if (last) return std::nullopt;
  }
}

std::optional<char> JsonRecords::peek() {
  while (start_ == buffer_.size()) {
    if (!read_more()) return std::nullopt;
  }
  return buffer_[start_];
}

void JsonRecords::pass() {
  if (buffer_[start_++] == '\n') ++line_;
}

std::optional<char> JsonRecords::peek_beyond_space() {
  std::optional<char> c = peek();
  while (c && (*c == ' ' || *c == '\t' || *c == '\r' || *c == '\n')) {
    pass();
    c = peek();
  }
  return c;
}

std::optional<JsonRecords::Record> JsonRecords::next_value() {
  std::optional<char> c = peek_beyond_space();
  if (place_ == Place::before) {
    place_ = Place::outside;
    if (c == '[') {
      place_ = Place::in_array;
      pass();
      c = peek_beyond_space();
    }
  }
  if (place_ == Place::in_array) {
    if (!c) fail("the array has no end");
    if (*c == ']') {
      place_ = Place::behind_array;
      pass();
      c = peek_beyond_space();
    } else if (!std::exchange(first_element_, false)) {
      if (*c != ',') fail("expected a comma or the end of the array");
      pass();
      if (!peek_beyond_space()) fail("the array has no end");
    }
  }
  if (place_ == Place::behind_array && c) fail("expected nothing behind the array");
  if (!c) return std::nullopt;
  const size_t length = end_of_value() - start_;
  Record record{buffer_.substr(start_, length), line_};
  line_ += std::count(record.json.begin(), record.json.end(), '\n');
  start_ += length;
  return record;
}

size_t JsonRecords::end_of_value() {
  int64_t depth = 0;
  bool in_string = false, escaped = false;
  for (size_t i = 0;; ++i) {
    while (start_ + i == buffer_.size()) {
      if (!read_more()) return buffer_.size();
    }
    const char c = buffer_[start_ + i];
    if (in_string) {
      if (!escaped && c == '"') {
        in_string = false;
        if (depth == 0) return start_ + i + 1;
      }
      escaped = !escaped && c == '\\';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth <= 0) return start_ + i + (depth == 0 || i == 0 ? 1 : 0);
    } else if (depth == 0 && (c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
      return start_ + std::max<size_t>(i, 1);  // one character at the least, valid or not
    }
  }
}

}  // namespace sinkbench
