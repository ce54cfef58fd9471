#include "reports/published.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "reports/tables.h"

namespace sinkbench {
namespace {

constexpr auto values = std::to_array<Published>({
    {"Falcon-7B", "0+2048", 17.9, "table 2"},   {"Falcon-7B", "1+2047", 12.12, "table 2"},
    {"Falcon-7B", "2+2046", 12.12, "table 2"},  {"Falcon-7B", "4+2044", 12.12, "table 2"},
    {"Falcon-7B", "8+2040", 12.12, "table 2"},  {"MPT-7B", "0+2048", 460.29, "table 2"},
    {"MPT-7B", "1+2047", 14.99, "table 2"},     {"MPT-7B", "2+2046", 15.0, "table 2"},
    {"MPT-7B", "4+2044", 14.99, "table 2"},     {"MPT-7B", "8+2040", 14.98, "table 2"},
    {"Pythia-12B", "0+2048", 21.62, "table 2"}, {"Pythia-12B", "1+2047", 11.95, "table 2"},
    {"Pythia-12B", "2+2046", 12.09, "table 2"}, {"Pythia-12B", "4+2044", 12.09, "table 2"},
    {"Pythia-12B", "8+2040", 12.02, "table 2"}, {"Llama-2-7B", "0+4096", 3359.95, "table 2"},
    {"Llama-2-7B", "1+4095", 11.88, "table 2"}, {"Llama-2-7B", "2+4094", 10.51, "table 2"},
    {"Llama-2-7B", "4+4092", 9.59, "table 2"},  {"Llama-2-7B", "8+4088", 9.54, "table 2"},
    {"Falcon-7B", "4+252", 13.61, "table 6"},   {"Falcon-7B", "4+508", 12.84, "table 6"},
    {"Falcon-7B", "4+1020", 12.34, "table 6"},  {"Falcon-7B", "4+2044", 12.84, "table 6"},
    {"MPT-7B", "4+252", 14.12, "table 6"},      {"MPT-7B", "4+508", 14.25, "table 6"},
    {"MPT-7B", "4+1020", 14.33, "table 6"},     {"MPT-7B", "4+2044", 14.99, "table 6"},
    {"Pythia-12B", "4+252", 13.17, "table 6"},  {"Pythia-12B", "4+508", 12.52, "table 6"},
    {"Pythia-12B", "4+1020", 12.08, "table 6"}, {"Pythia-12B", "4+2044", 12.09, "table 6"},
    {"Llama-2-7B", "4+508", 9.73, "table 6"},   {"Llama-2-7B", "4+1020", 9.32, "table 6"},
    {"Llama-2-7B", "4+2044", 9.08, "table 6"},  {"Llama-2-7B", "4+4092", 9.59, "table 6"},
    {"Llama-2-13B", "all", 5641, "figure 1"},   {"Llama-2-13B", "0+1024", 5158.07, "figure 1"},
    {"Llama-2-13B", "1024", 5.43, "figure 1"},  {"Llama-2-13B", "4+1020", 5.4, "figure 1"},
});

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

}  // namespace

std::span<const Published> published_values() {
  return values;
}

std::vector<Published> published_for(const CellResult& cell) {
  std::vector<Published> found;
  if (cell.cell.model.random) return found;
  const std::string model = lower(model_name(cell.cell)), cache = cache_name(cell);
  std::copy_if(values.begin(), values.end(), std::back_inserter(found), [&](const Published& p) {
    const std::string name = lower(p.model);
    // "llama-2-7b" isn't "llama-2-70b"; "-hf" or nothing may follow.
    return model.starts_with(name) && (model.size() == name.size() || model[name.size()] == '-') &&
           p.cache == cache;
  });
  return found;
}

}  // namespace sinkbench
