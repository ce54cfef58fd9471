// Which files of a folder are texts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sinkbench {

/// What a file's name says of the text in it, without regard to case and to the suffix of a
/// compression.
enum class TextName {
  text,        // .txt
  json_lines,  // .jsonl, .ndjson
  json,        // .json: JSON lines or an array
  silent,      // anything else
};
TextName text_name(const std::filesystem::path& file);

struct TextFolder {
  std::vector<std::filesystem::path> files;  // by path below the folder, in byte order
  std::vector<std::string> notes;            // a line for what was left out and might be missed
};

/// A folder's .txt files or, if it has none, its files of JSON, each also compressed; with
/// `subfolders` those of its folders, too. Hidden files, a compressed copy beside its original and
/// all others are left out, and so noted.
///
/// InputError names the place: no texts, a link to what isn't there, links in a circle, a folder
/// that can't be read.
TextFolder read_text_folder(const std::filesystem::path& folder, bool subfolders);

/// InputError where nothing is at `path`, or a link to nothing or to itself.
void check_exists(const std::filesystem::path& path);

/// "a, b, c and 7 more"
std::string some_of(const std::vector<std::string>& names);

}  // namespace sinkbench
