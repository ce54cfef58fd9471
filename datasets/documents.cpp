#include "datasets/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "datasets/json_records.h"
#include "datasets/text_file.h"
#include "datasets/text_folder.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The name without folder, compression's suffix and extension.
std::string title_of(const fs::path& file) {
  return fs::path(without_compression_suffix(file.filename().string())).stem().string();
}

/// "a string", "an array": what a JSON value is, for messages.
std::string kind_of(const json& value) {
  const std::string name = value.type_name();
  return value.is_null() ? name : (value.is_object() || value.is_array() ? "an " : "a ") + name;
}

std::string_view beyond_space(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

/// Whether a text begins as a JSON object with keys does, or an array of such.
bool begins_as_records(std::string_view text) {
  text = beyond_space(text);
  if (text.starts_with('[')) text = beyond_space(text.substr(1));
  return text.starts_with('{') && beyond_space(text.substr(1)).starts_with('"');
}

bool mentions_field(std::string_view text, const std::string& field) {
  const std::string key = json_text(field);
  for (size_t at = text.find(key); at != text.npos; at = text.find(key, at + 1)) {
    if (beyond_space(text.substr(at + key.size())).starts_with(':')) return true;
  }
  return false;
}

int64_t count_crlf(std::string_view text) {
  int64_t count = 0;
  for (size_t at = text.find("\r\n"); at != text.npos; at = text.find("\r\n", at + 2)) ++count;
  return count;
}

std::string whole(TextFile& file) {
  std::string bytes;
  std::error_code no_size;  // as of a pipe
  const auto size = fs::file_size(file.path(), no_size);
  if (!no_size && file.compression().empty()) bytes.reserve(size + file.first().size());
  while (file.append_to(bytes)) {
  }
  return bytes;
}

void check_replaced(const FileFacts& facts, const DocumentOptions& options) {
  if (options.invalid == InvalidBytes::replace) return;
  if (facts.replaced_bytes * 1000 <= facts.characters) return;
  throw InputError::format(
      "{}: {} bytes among {} characters are no UTF-8, more than 1 in 1,000; expected UTF-8 (from "
      "Latin-1, for one: iconv -f LATIN1 -t UTF-8), or invalid: replace, which puts U+FFFD in "
      "their place",
      facts.file.string(), facts.replaced_bytes, facts.characters);
}

}  // namespace

DocumentReader::DocumentReader(std::vector<fs::path> paths, DocumentOptions options)
    : options_(std::move(options)) {
  for (const fs::path& path : paths) {
    check_exists(path);
    if (!fs::is_directory(path)) {
      files_.push_back(path);
      continue;
    }
    TextFolder folder = read_text_folder(path, options_.subfolders);
    std::move(folder.files.begin(), folder.files.end(), std::back_inserter(files_));
    std::move(folder.notes.begin(), folder.notes.end(), std::back_inserter(folder_notes_));
  }
}

DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;
DocumentReader& DocumentReader::operator=(DocumentReader&&) noexcept = default;
DocumentReader::~DocumentReader() = default;

std::optional<Document> DocumentReader::next() {
  for (;;) {
    if (std::optional<Document> document = next_in_file()) {
      ++read_.back().documents;
      read_.back().characters += count_characters(document->text);
      read_.back().crlf_line_ends += count_crlf(document->text);
      if (records_ == nullptr) check_replaced(read_.back(), options_);
      return document;
    }
    if (records_ == nullptr && next_file_ == files_.size()) return std::nullopt;
  }
}

std::optional<Document> DocumentReader::next_in_file() {
  if (records_ != nullptr) {
    std::optional<Document> document = next_record();
    if (!document) {
      records_ = nullptr;
      check_replaced(read_.back(), options_);
    }
    return document;
  }
  if (next_file_ == files_.size()) return std::nullopt;
  const fs::path& path = files_[next_file_++];
  TextFile file(path, options_.invalid == InvalidBytes::replace);
  read_.push_back({.file = path});
  if (file.has_byte_order_mark()) ++read_.back().byte_order_marks;
  if (file.encoding() != "UTF-8") utf16_.push_back(path.string());
  const std::string name = path.filename().string();
  if (file.compression().empty() && without_compression_suffix(name) != name) {
    misnamed_.push_back(path.string());
  }

  TextName kind = text_name(path);
  const bool like_records = begins_as_records(file.first());
  if (kind == TextName::silent && like_records && mentions_field(file.first(), options_.field)) {
    kind = TextName::json;
  }
  if (kind == TextName::json_lines || kind == TextName::json) {
    records_ = std::make_unique<JsonRecords>(std::move(file), kind == TextName::json_lines
                                                                  ? JsonRecords::Layout::lines
                                                                  : JsonRecords::Layout::values);
    return std::nullopt;
  }
  if (like_records) json_as_text_.push_back(path.string());
  return Document{take_text(whole(file)), title_of(path), path, 0};
}

/// Bytes as text, their facts noted.
std::string DocumentReader::take_text(std::string bytes) {
  if (valid_utf8_prefix(bytes) == bytes.size()) return bytes;
  return to_valid_utf8(bytes, &read_.back().replaced_bytes);
}

std::optional<Document> DocumentReader::next_record() {
  std::optional<JsonRecords::Record> found = records_->next();
  if (!found) return std::nullopt;
  const fs::path& path = records_->file().path();
  const std::string where = fmt::format("{}: line {}", path.string(), found->line);
  json record;
  try {
    record = parse_json(take_text(std::move(found->json)));
  } catch (const json::exception& error) {
    throw InputError::format(
        "{}: expected a JSON object: {}{}", where, json_reason(error),
        text_name(path) == TextName::json && found->line == 1
            ? " (a file whose text is not JSON needs another name, such as .txt)"
            : "");
  }
  if (!record.is_object()) {
    throw InputError::format(
        "{}: expected a JSON object, found {}{}", where, kind_of(record),
        record.is_number() ? " (token ids are given as tokens_file, not as text)" : "");
  }
  const auto text = record.find(options_.field);
  if (text == record.end()) {
    std::vector<std::string> fields;
    for (const auto& [name, value] : record.items()) fields.push_back(name);
    throw InputError::format("{}: no field '{}' with the text{}", where, options_.field,
                             fields.empty() ? "" : suggestion(options_.field, fields));
  }
  if (!text->is_string()) {
    throw InputError::format("{}: field '{}': expected a string, found {}", where, options_.field,
                             kind_of(*text));
  }
  const auto title = record.find("title");
  Document document{std::move(text->get_ref<std::string&>()),
                    title != record.end() && title->is_string() && options_.field != "title"
                        ? title->get<std::string>()
                        : title_of(path),
                    path, found->line};
  if (document.text.starts_with("\xEF\xBB\xBF")) {
    document.text.erase(0, 3);
    ++read_.back().byte_order_marks;
  }
  return document;
}

void DocumentReader::finish() {
  records_ = nullptr;
  next_file_ = files_.size();
  if (!read_.empty()) check_replaced(read_.back(), options_);
}

std::vector<std::string> DocumentReader::notes() const {
  std::vector<std::string> notes = folder_notes_;
  const auto note = [&](const std::vector<std::string>& files, const std::string& what) {
    if (!files.empty()) notes.push_back(fmt::format("{}: {}", some_of(files), what));
  };
  const auto count = [&](int64_t FileFacts::*number, const char* what) {
    std::vector<std::string> files;
    int64_t total = 0;
    for (const FileFacts& facts : read_) {
      if (facts.*number == 0) continue;
      files.push_back(facts.file.string());
      total += facts.*number;
    }
    note(files, fmt::format(fmt::runtime(what), total));
  };
  note(utf16_, "UTF-16, fed as the same text in UTF-8");
  count(&FileFacts::byte_order_marks,
        "a byte order mark at the start, which is no text and left out");
  count(&FileFacts::crlf_line_ends, "line ends are CRLF ({}), kept as they are");
  count(&FileFacts::replaced_bytes, "bytes that are no UTF-8: {}; U+FFFD stands in their place");
  note(misnamed_, "not compressed, whatever the name says");
  note(json_as_text_,
       "begins as JSON records do, but is fed as one plain text; records are read from .jsonl and "
       ".json files, and where the first one has the field");
  return notes;
}

}  // namespace sinkbench
