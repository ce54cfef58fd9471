#include "datasets/text_folder.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "datasets/compressed.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

/// What one folder holds, and those below it.
class Search {
 public:
  Search(const fs::path& folder, bool subfolders) : folder_(folder), subfolders_(subfolders) {
    visit(folder);
  }

  TextFolder result() {
    TextFolder result;
    const bool has_texts = !texts_.empty();
    std::set<std::string>& files = has_texts ? texts_ : json_;
    if (has_texts) others_.merge(json_);
    note_copies(files, result.notes);
    note(hidden_, "hidden and left out", result.notes);
    note(others_, has_texts ? "left out beside .txt files" : "left out beside files of JSON",
         result.notes);
    note(folders_, "a subfolder and left out (subfolders: true reads them)", result.notes);
    if (files.empty()) {
      throw InputError::format(
          "{}: expected a folder with .txt files (or .jsonl, .ndjson, .json), found none in it{}{}",
          folder_.string(), result.notes.empty() ? "" : "; in it: ", fmt::join(bare_notes_, "; "));
    }
    for (const std::string& file : files) result.files.push_back(folder_ / file);
    return result;
  }

 private:
  void visit(const fs::path& folder) {
    const fs::path real = fs::canonical(folder);
    if (std::find(open_.begin(), open_.end(), real) != open_.end()) {
      throw InputError::format("{}: a link to a folder that it is in: links in a circle",
                               folder.string());
    }
    open_.push_back(real);
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      sort(it->path());
    }
    if (error) throw InputError::format("{}: cannot read: {}", folder.string(), error.message());
    open_.pop_back();
  }

  void sort(const fs::path& path) {
    const std::string name = path.lexically_relative(folder_).string();
    if (path.filename().string().starts_with('.')) {
      hidden_.insert(name);
      return;
    }
    check_exists(path);
    if (fs::is_directory(path)) {
      if (subfolders_) {
        visit(path);
      } else {
        folders_.insert(name);
      }
      return;
    }
    const TextName kind = text_name(path);
    (!fs::is_regular_file(path) || kind == TextName::silent ? others_
     : kind == TextName::text                               ? texts_
                                                            : json_)
        .insert(name);
  }

  /// Takes a compressed file away whose original is there.
  void note_copies(std::set<std::string>& files, std::vector<std::string>& notes) {
    std::set<std::string> copies;
    for (const std::string& file : files) {
      const std::string original = without_compression_suffix(file);
      if (original != file && files.contains(original)) copies.insert(file);
    }
    for (const std::string& copy : copies) files.erase(copy);
    note(copies, "a compressed copy of the file beside it and left out", notes);
  }

  void note(const std::set<std::string>& names, const char* what, std::vector<std::string>& notes) {
    if (names.empty()) return;
    const std::string text = fmt::format("{}: {}", what, some_of({names.begin(), names.end()}));
    bare_notes_.push_back(text);
    notes.push_back(fmt::format("{}: {}", folder_.string(), text));
  }

  fs::path folder_;
  bool subfolders_;
  std::vector<fs::path> open_;  // folders from the first one to the one that is being read
  std::set<std::string> texts_, json_, hidden_, others_, folders_;
  std::vector<std::string> bare_notes_;
};

}  // namespace

TextName text_name(const fs::path& file) {
  const std::string name = without_compression_suffix(file.filename().string());
  const std::string suffix = lower_case(fs::path(name).extension().string());
  if (suffix == ".txt") return TextName::text;
  if (suffix == ".jsonl" || suffix == ".ndjson") return TextName::json_lines;
  return suffix == ".json" ? TextName::json : TextName::silent;
}

TextFolder read_text_folder(const fs::path& folder, bool subfolders) {
  return Search(folder, subfolders).result();
}

void check_exists(const fs::path& path) {
  std::error_code error;
  if (fs::exists(fs::status(path, error))) return;
  std::error_code ignored;
  if (fs::is_symlink(path, ignored)) {
    throw InputError::format(
        "{}: is a link to {}, {}", path.string(), fs::read_symlink(path, ignored).string(),
        error == std::errc::too_many_symbolic_link_levels ? "which leads back to itself"
                                                          : "which isn't there");
  }
  throw InputError::format("{}: no such file or folder", path.string());
}

std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t most = 3;
  if (names.size() <= most + 1) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.begin(), names.begin() + most, ", "),
                     names.size() - most);
}

}  // namespace sinkbench
