#include "base/placeholder.h"

#include <algorithm>
#include <array>
#include <string>

#include "base/error.h"
#include "base/text.h"

namespace sinkbench {
namespace {

std::string_view without_leading_space(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

/// The value of a pointer's line "size N", or "".
std::string_view size_in_pointer(std::string_view pointer) {
  constexpr std::string_view key = "\nsize ";
  const size_t at = pointer.find(key);
  if (at == pointer.npos) return "";
  const std::string_view value = pointer.substr(at + key.size());
  return value.substr(0, std::min(value.find_first_not_of("0123456789"), value.size()));
}

bool is_pointer(std::string_view text) {
  return text.starts_with("version https://git-lfs.github.com/spec/") ||
         text.starts_with("version https://hawser.github.com/spec/");  // its name of before
}

/// "an HTML page", "an error message in XML", or "" of what is neither.
std::string_view kind_of_page(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  text = without_leading_space(text);
  if (!text.starts_with('<')) return "";
  const std::string lower = lower_case(text);
  text = lower;
  while (text.starts_with("<?xml") || text.starts_with("<!--")) {
    const std::string_view end = text.starts_with("<?xml") ? "?>" : "-->";
    const size_t at = text.find(end);
    if (at == text.npos) return "";
    text = without_leading_space(text.substr(at + end.size()));
  }
  if (text.starts_with("<!doctype html") || text.starts_with("<html")) return "an HTML page";
  return text.starts_with("<error>") ? "an error message in XML" : "";
}

bool is_named_html(const std::filesystem::path& file) {
  const std::string name = lower_case(file.filename().string());
  return name.find(".htm") != name.npos || name.find(".xhtm") != name.npos;
}

/// What the Hugging Face hub answers for a file that isn't there or isn't open to all.
constexpr std::array hub_answers = {"Entry not found", "Repository not found",
                                    "Invalid username or password."};

}  // namespace

void refuse_broken_link(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::is_symlink(file, error) || std::filesystem::exists(file, error)) return;
  throw InputError::format("{}: a link to {}, which is not there: the download is incomplete",
                           file.string(), std::filesystem::read_symlink(file, error).string());
}

void refuse_placeholder(const std::filesystem::path& file, std::string_view first_bytes) {
  const std::string_view text = first_bytes.substr(0, placeholder_bytes);
  if (is_pointer(text)) {
    const std::string_view size = size_in_pointer(text);
    throw InputError::format(
        "{}: is a Git LFS pointer to a file{}, not the file itself; fetch it with: git lfs pull",
        file.string(), size.empty() ? "" : fmt::format(" of {} bytes", size));
  }
  const std::string_view page = kind_of_page(text);
  if (!page.empty() && !is_named_html(file)) {
    throw InputError::format(
        "{}: is {}, not the file that its name says: the download went wrong; fetch it again",
        file.string(), page);
  }
  const std::string_view trimmed = text.substr(0, text.find_last_not_of(" \r\n") + 1);
  for (const std::string_view answer : hub_answers) {
    if (trimmed != answer) continue;
    throw InputError::format(
        "{}: is the Hugging Face hub's answer '{}', not the file that its name says; fetch it "
        "again, signed in if need be",
        file.string(), answer);
  }
}

}  // namespace sinkbench
