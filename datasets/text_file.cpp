#include "datasets/text_file.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/placeholder.h"
#include "base/utf8.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

constexpr size_t piece_bytes = 1 << 16;

/// What is no text, by bytes at a place near the file's start, and what to do about it.
struct Format {
  size_t place;
  std::string_view magic;
  const char* what;
  const char* remedy;
};
constexpr const char* unpack = "unpack it and give its files";
constexpr std::array formats = {
    Format{0, "PAR1"sv, "a Parquet file",
           "convert it to JSON lines, for example with Python's "
           "pandas.read_parquet(FILE).to_json('text.jsonl', orient='records', lines=True)"},
    Format{0, "ARROW1\0\0"sv, "an Arrow file",
           "convert it to JSON lines, for example with Python's "
           "datasets.Dataset.from_file(FILE).to_json('text.jsonl')"},
    Format{0, "\xFF\xFF\xFF\xFF"sv, "an Arrow stream",
           "convert it to JSON lines, for example with Python's "
           "datasets.Dataset.from_file(FILE).to_json('text.jsonl')"},
    Format{0, "PK\x03\x04"sv, "a ZIP archive (as .epub, .docx and .npz files are)", unpack},
    Format{0, "7z\xBC\xAF\x27\x1C"sv, "a 7-Zip archive", unpack},
    Format{0, "Rar!\x1A\x07"sv, "a RAR archive", unpack},
    Format{257, "ustar"sv, "a tar archive", unpack},
    Format{0, "%PDF-"sv, "a PDF file", "convert it, for example with pdftotext"},
    Format{0, "\x04\x22\x4D\x18"sv, "compressed by lz4", "decompress it with: lz4 -d"},
    Format{0, "\x1F\x9D"sv, "compressed by compress", "decompress it with: gzip -d"},
    Format{0, "SQLite format 3\0"sv, "an SQLite file", "export its text"},
    Format{0, "GGUF"sv, "a GGUF file", "give it as the model"},
    Format{0, "\xFF\xFE\0\0"sv, "text in UTF-32", "convert it with: iconv -f UTF-32 -t UTF-8"},
    Format{0, "\0\0\xFE\xFF"sv, "text in UTF-32", "convert it with: iconv -f UTF-32 -t UTF-8"},
};

void refuse_what_is_no_text(const fs::path& path, std::string_view first) {
  refuse_placeholder(path, first);
  for (const Format& format : formats) {
    if (first.substr(std::min(format.place, first.size())).starts_with(format.magic)) {
      throw InputError::format("{}: is {}, which is not read as text; {}", path.string(),
                               format.what, format.remedy);
    }
  }
}

void refuse_nuls(const fs::path& path, std::string_view first) {
  const auto nuls = static_cast<size_t>(std::count(first.begin(), first.end(), '\0'));
  if (nuls * 1000 <= first.size()) return;
  throw InputError::format(
      "{}: has {} NUL bytes among its first {}, as binary data and UTF-16 without a byte order "
      "mark do; expected text (of UTF-16: iconv -f UTF-16LE -t UTF-8), or invalid: replace, which "
      "takes it as it is",
      path.string(), nuls, first.size());
}

}  // namespace

TextFile::TextFile(const fs::path& path, bool any_bytes) : path_(path), bytes_(path) {
  undecoded_.resize(piece_bytes);
  undecoded_.resize(bytes_.read(undecoded_.data(), undecoded_.size()));
  if (!compression().empty() && !compression_of(undecoded_).empty()) {
    throw InputError::format("{}: is compressed twice ({} in {}); decompress it once",
                             path.string(), compression_of(undecoded_), compression());
  }
  refuse_what_is_no_text(path, undecoded_);
  const auto mark = [&](std::string_view bytes, std::string_view encoding) {
    if (has_mark_ || !undecoded_.starts_with(bytes)) return;
    has_mark_ = true;
    encoding_ = encoding;
    undecoded_.erase(0, bytes.size());
  };
  mark("\xEF\xBB\xBF", "UTF-8");
  mark("\xFF\xFE", "UTF-16LE");
  mark("\xFE\xFF", "UTF-16BE");
  while (first_.empty() && append_decoded(first_)) {
  }
  if (!any_bytes) refuse_nuls(path, first_);
}

bool TextFile::append_decoded(std::string& out) {
  if (undecoded_.size() < piece_bytes) {
    const size_t before = undecoded_.size();
    undecoded_.resize(piece_bytes);
    undecoded_.resize(before + bytes_.read(undecoded_.data() + before, piece_bytes - before));
  }
  if (undecoded_.empty()) return false;
  if (encoding_ == "UTF-8") {
    out += undecoded_;
    undecoded_.clear();
  } else {
    const bool last = undecoded_.size() < piece_bytes;
    undecoded_.erase(0, append_utf16(out, undecoded_, encoding_ == "UTF-16BE", last));
  }
  return true;
}

bool TextFile::append_to(std::string& out) {
  if (gave_first_) return append_decoded(out);
  gave_first_ = true;
  out += first_;
  return !first_.empty();
}

}  // namespace sinkbench
