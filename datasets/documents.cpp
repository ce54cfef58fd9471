#include "datasets/documents.h"

#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "datasets/utf8.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kChunkBytes = 1 << 16;

bool is_jsonl(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.ends_with(".jsonl") || name.ends_with(".jsonl.zst");
}

bool is_compressed(const fs::path& file) {
  return file.extension() == ".zst";
}

/// The name without folder, ".zst" and extension.
std::string title_of(const fs::path& file) {
  return is_compressed(file) ? file.stem().stem().string() : file.stem().string();
}

std::vector<fs::path> texts_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && (name.ends_with(".txt") || name.ends_with(".txt.zst"))) {
      files.push_back(entry.path());
    }
  }
  if (files.empty()) {
    throw InputError::format("{}: expected a folder with .txt files, found none in it",
                             folder.string());
  }
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    return a.filename().native() < b.filename().native();
  });
  return files;
}

std::string valid_text(std::string bytes) {
  return valid_utf8_prefix(bytes) == bytes.size() ? std::move(bytes) : to_valid_utf8(bytes);
}

/// "a string", "an array": what a JSON value is, for messages.
std::string kind_of(const json& value) {
  const std::string name = value.type_name();
  return value.is_null() ? name : (value.is_object() || value.is_array() ? "an " : "a ") + name;
}

/// A file's bytes in order, decompressed where its name ends in .zst.
class ByteSource {
 public:
  explicit ByteSource(const fs::path& path) : path_(path), file_(std::fopen(path.c_str(), "rb")) {
    if (file_ == nullptr) {
      throw InputError::format("{}: cannot open: {}", path.string(), std::strerror(errno));
    }
    if (is_compressed(path)) {
      stream_.reset(ZSTD_createDStream());
      compressed_.resize(ZSTD_DStreamInSize());
    }
  }

  /// Appends up to about a chunk of bytes to `out`; false at the end of the file.
  bool append_to(std::string& out) {
    const size_t before = out.size();
    out.resize(before + kChunkBytes);
    const size_t read = stream_ != nullptr ? decompress(out.data() + before, kChunkBytes)
                                           : read_raw(out.data() + before, kChunkBytes);
    out.resize(before + read);
    return read > 0;
  }

 private:
  size_t read_raw(char* to, size_t size) {
    const size_t read = std::fread(to, 1, size, file_.get());
    if (read == 0 && std::ferror(file_.get()) != 0) {
      throw InputError::format("{}: cannot read: {}", path_.string(), std::strerror(errno));
    }
    return read;
  }

  size_t decompress(char* to, size_t size) {
    ZSTD_outBuffer out{to, size, 0};
    while (out.pos < out.size) {
      if (in_.pos == in_.size) {
        in_ = {compressed_.data(), read_raw(compressed_.data(), compressed_.size()), 0};
        if (in_.size == 0) {
          if (frame_open_) {
            throw InputError::format("{}: the compressed data ends too early", path_.string());
          }
          break;
        }
      }
      const size_t status = ZSTD_decompressStream(stream_.get(), &out, &in_);
      if (ZSTD_isError(status) != 0) {
        throw InputError::format("{}: cannot decompress: {}", path_.string(),
                                 ZSTD_getErrorName(status));
      }
      frame_open_ = status != 0;
    }
    return out.pos;
  }

  fs::path path_;
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, CloseFile> file_;
  struct FreeStream {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  std::unique_ptr<ZSTD_DStream, FreeStream> stream_;
  std::string compressed_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool frame_open_ = false;
};

std::string whole_file(const fs::path& path) {
  if (!is_compressed(path)) {
    const MappedFile file(path);
    return to_valid_utf8(file.text());
  }
  ByteSource source(path);
  std::string bytes;
  while (source.append_to(bytes)) {
  }
  return valid_text(std::move(bytes));
}

}  // namespace

class DocumentReader::Lines {
 public:
  explicit Lines(const fs::path& path) : path_(path), source_(path) {}

  /// The next line without its line feed, or nothing at the end.
  std::optional<std::string> next() {
    size_t searched = start_;
    for (;;) {
      const size_t end = buffer_.find('\n', searched);
      if (end != std::string::npos) {
        std::string line = buffer_.substr(start_, end - start_);
        start_ = end + 1;
        ++number_;
        return line;
      }
      buffer_.erase(0, start_);
      start_ = 0;
      searched = buffer_.size();
      if (source_.append_to(buffer_)) continue;
      if (buffer_.empty()) return std::nullopt;
      ++number_;
      return std::exchange(buffer_, {});
    }
  }

  const fs::path& path() const { return path_; }
  int64_t number() const { return number_; }

 private:
  fs::path path_;
  ByteSource source_;
  std::string buffer_;
  size_t start_ = 0;  // of the next line in the buffer
  int64_t number_ = 0;
};

DocumentReader::DocumentReader(std::vector<fs::path> paths, std::string text_field)
    : text_field_(std::move(text_field)) {
  for (const fs::path& path : paths) {
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
    if (!fs::exists(status)) {
      throw InputError::format("{}: no such file or folder", path.string());
    }
    if (fs::is_directory(status)) {
      for (fs::path& file : texts_in(path)) files_.push_back(std::move(file));
    } else {
      files_.push_back(path);
    }
  }
}

DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;
DocumentReader& DocumentReader::operator=(DocumentReader&&) noexcept = default;
DocumentReader::~DocumentReader() = default;

std::optional<Document> DocumentReader::next() {
  for (;;) {
    if (lines_ != nullptr) {
      if (std::optional<Document> document = next_record()) return document;
      lines_ = nullptr;
    }
    if (next_file_ == files_.size()) return std::nullopt;
    const fs::path& file = files_[next_file_++];
    if (!is_jsonl(file)) return Document{whole_file(file), title_of(file), file, 0};
    lines_ = std::make_unique<Lines>(file);
  }
}

std::optional<Document> DocumentReader::next_record() {
  for (;;) {
    std::optional<std::string> line = lines_->next();
    if (!line) return std::nullopt;
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}: line {}", lines_->path().string(), lines_->number());
    json record;
    try {
      record = json::parse(valid_text(*std::move(line)));
    } catch (const json::exception& error) {
      throw InputError::format("{}: expected a JSON object: {}", where, error.what());
    }
    if (!record.is_object()) {
      throw InputError::format("{}: expected a JSON object, found {}", where, kind_of(record));
    }
    const auto text = record.find(text_field_);
    if (text == record.end()) {
      std::vector<std::string> fields;
      for (const auto& [name, value] : record.items()) fields.push_back(name);
      throw InputError::format("{}: no field '{}' with the text{}", where, text_field_,
                               fields.empty() ? "" : suggestion(text_field_, fields));
    }
    if (!text->is_string()) {
      throw InputError::format("{}: field '{}': expected a string, found {}", where, text_field_,
                               kind_of(*text));
    }
    const auto title = record.find("title");
    return Document{std::move(text->get_ref<std::string&>()),
                    title != record.end() && title->is_string() && text_field_ != "title"
                        ? title->get<std::string>()
                        : title_of(lines_->path()),
                    lines_->path(), lines_->number()};
  }
}

}  // namespace sinkbench
