#include "datasets/unicode_property.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "datasets/unicode_tables.h"

namespace sinkbench {
namespace {

/// The characters whose value in a table of runs `wanted` takes.
template <typename Wanted>
CodePointSet of_runs(UnicodeTables::Numbers runs, int bits, Wanted&& wanted) {
  std::vector<uint32_t> edges;
  for (const uint32_t run : runs) {
    if (wanted(run & ((1u << bits) - 1)) != (edges.size() % 2 == 1)) edges.push_back(run >> bits);
  }
  if (edges.size() % 2 == 1) edges.push_back(0x110000);
  return CodePointSet(std::move(edges));
}

CodePointSet of_ranges(UnicodeTables::Numbers edges) {
  return CodePointSet(std::vector<uint32_t>(edges.begin(), edges.end()));
}

/// The general categories that begin with `prefix`.
CodePointSet category(std::string_view prefix) {
  const UnicodeTables& tables = unicode_tables();
  return of_runs(tables.categories, UnicodeTables::kCategoryBits,
                 [&](uint32_t value) { return tables.category_names[value].starts_with(prefix); });
}

/// As names are compared.
std::string loose(std::string_view name) {
  std::string result;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return result;
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 37> kLongNames = {{
    {"other", "C"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"unassigned", "Cn"},
    {"privateuse", "Co"},
    {"surrogate", "Cs"},
    {"letter", "L"},
    {"lowercaseletter", "Ll"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"titlecaseletter", "Lt"},
    {"uppercaseletter", "Lu"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"nonspacingmark", "Mn"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"closepunctuation", "Pe"},
    {"finalpunctuation", "Pf"},
    {"initialpunctuation", "Pi"},
    {"otherpunctuation", "Po"},
    {"openpunctuation", "Ps"},
    {"symbol", "S"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"mathsymbol", "Sm"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
}};

CodePointSet graphic() {
  return ~(of_ranges(unicode_tables().white_space) | category("Cc") | category("Cn") |
           category("Cs"));
}

/// What is neither a category nor a script.
std::optional<CodePointSet> other_property(const std::string& name) {
  const UnicodeTables& tables = unicode_tables();
  if (name == "any") return CodePointSet(0, 0x10FFFF);
  if (name == "assigned") return ~category("Cn");
  if (name == "ascii") return CodePointSet(0, 0x7F);
  if (name == "lc" || name == "casedletter") {
    return category("Ll") | category("Lt") | category("Lu");
  }
  if (name == "alpha" || name == "alphabetic") return of_ranges(tables.alphabetic);
  if (name == "upper" || name == "uppercase") return of_ranges(tables.uppercase);
  if (name == "lower" || name == "lowercase") return of_ranges(tables.lowercase);
  if (name == "space" || name == "whitespace") return of_ranges(tables.white_space);
  if (name == "alnum") return of_ranges(tables.alphabetic) | category("Nd");
  if (name == "digit") return category("Nd");
  if (name == "punct") return category("P");
  if (name == "cntrl") return category("Cc");
  if (name == "blank") return category("Zs") | CodePointSet('\t', '\t');
  if (name == "graph") return graphic();
  if (name == "print") return graphic() | category("Zs");
  if (name == "xdigit") return hexadecimal_digits();
  if (name == "word") return word_characters();
  if (name == "emoji") return of_ranges(tables.emoji);
  if (name == "ideographic") return of_ranges(tables.ideographic);
  if (name == "extendedpictographic") return of_ranges(tables.extended_pictographic);
  return std::nullopt;
}

}  // namespace

std::optional<CodePointSet> unicode_property(std::string_view name) {
  const UnicodeTables& tables = unicode_tables();
  const std::string key = loose(name);
  for (const std::string_view known : tables.category_names) {
    if (key == loose(known)) return category(known);
    if (key == loose(known.substr(0, 1))) return category(known.substr(0, 1));
  }
  if (key == "spaceseparator") return category("Zs");
  for (const auto& [full, prefix] : kLongNames) {
    if (key == full) return category(prefix);
  }
  std::string script = key;
  for (const auto& [abbreviated, full] : tables.short_script_names) {
    if (key == loose(abbreviated)) script = loose(full);
  }
  for (size_t i = 0; i < tables.script_names.size(); ++i) {
    if (script != loose(tables.script_names[i])) continue;
    return of_runs(tables.scripts, UnicodeTables::kScriptBits,
                   [&](uint32_t value) { return value == i; });
  }
  return other_property(key);
}

std::optional<CodePointSet> posix_bracket(std::string_view name) {
  constexpr std::array kNames = {"alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph",
                                 "lower", "print", "punct", "space", "upper", "word",  "xdigit"};
  if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) return std::nullopt;
  if (name == "punct") return category("P") | category("S");
  if (name == "word") {
    return of_ranges(unicode_tables().alphabetic) | category("M") | category("Nd") | category("Pc");
  }
  return other_property(std::string(name));
}

CodePointSet word_characters() {
  const CodePointSet superscripts({0xB2, 0xB4, 0xB9, 0xBA, 0xBC, 0xBF});  // and fractions
  return *posix_bracket("word") | superscripts;
}

CodePointSet hexadecimal_digits() {
  return CodePointSet('0', '9') | CodePointSet('A', 'F') | CodePointSet('a', 'f');
}

}  // namespace sinkbench
