// gnuplot, which draws the pictures.
#pragma once

#include <array>
#include <filesystem>
#include <span>
#include <string>

namespace sinkbench {

/// One picture of a folder: gnuplot makes NAME.svg and NAME.png of NAME.gp, which reads NAME.csv.
struct GnuplotPicture {
  std::string name;
  std::string script;
  std::string csv;
};

inline constexpr std::array picture_extensions = {".csv", ".gp", ".png", ".svg"};

// Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow, which
// nobody can read on white.
inline constexpr const char* black = "#000000";
inline constexpr std::array line_colours = {"#0072B2", "#D55E00", "#009E73",
                                            "#CC79A7", "#E69F00", "#56B4E9"};
/// Of words about lines of these: the same, darkened to the contrast with white that text needs
/// (4.5, WCAG 2.1).
inline constexpr std::array label_colours = {"#0072B2", "#BF5400", "#008460",
                                             "#A15F83", "#9C6C00", "#3A7A9E"};
/// Of a picture of lines.
inline constexpr const char* gnuplot_axes =
    "set border 3 linecolor '#444444'\n"
    "set tics nomirror out\n"
    "set grid linecolor '#dddddd' linetype 1 linewidth 0.5\n";

/// gnuplot's path, or "" where it isn't installed. `require_gnuplot` throws InputError then.
std::filesystem::path find_gnuplot();
std::filesystem::path require_gnuplot();

/// A string in gnuplot's single quotes, in which nothing but the quote has a meaning.
std::string gnuplot_quoted(const std::string& text);

/// The beginning and the end of every script. `commands` draw the picture of `width` x `height`
/// pixels (twice that in the PNG) on either terminal.
std::string gnuplot_header(const std::string& name);
std::string gnuplot_on_terminals(const std::string& name, int64_t width, int64_t height,
                                 const std::string& commands);

/// The four files of each picture, in `folder`, which is made where it is missing. Each file is
/// replaced as a whole, and none of a picture that gnuplot can't draw. Throws InputError.
void draw_with_gnuplot(std::span<const GnuplotPicture> pictures,
                       const std::filesystem::path& folder);

}  // namespace sinkbench
