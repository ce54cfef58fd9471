// What stands where a file should be when its download went wrong.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace sinkbench {

/// As many of a file's first bytes as refuse_placeholder looks at.
inline constexpr size_t placeholder_bytes = 1024;

/// Throws InputError where a file that begins with `first_bytes` (all of it, if it is shorter than
/// placeholder_bytes) is not itself but stands for it: a Git LFS pointer
/// (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md), a page of HTML (unless its name
/// says so) or an error message in XML or of the Hugging Face hub in its place.
void refuse_placeholder(const std::filesystem::path& file, std::string_view first_bytes);

/// Throws InputError where `file` is a link to what isn't there, as a broken download leaves it in
/// a cache; nothing where there is no link.
void refuse_broken_link(const std::filesystem::path& file);

}  // namespace sinkbench
