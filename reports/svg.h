// A picture as SVG within a page.
#pragma once

#include <string>

#include "reports/picture.h"

namespace sinkbench {

/// The page's style sheet gives the colours: of lines --line0 (dense) to --line6, of text and axes
/// --ink and --faint, of the grid --grid. Each point says its values to whoever points at it, and
/// the whole, to who doesn't see it, `words`.
std::string svg_picture(const Picture& picture, const std::string& words);

/// The rules for that.
extern const char* const svg_style;

}  // namespace sinkbench
