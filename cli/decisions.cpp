// sinkbench decisions: what caches held, from the logs that a run wrote.
#include "reports/decisions.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/console.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/run_experiment.h"
#include "reports/text_table.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;

struct DecisionsOptions {
  std::string folder, head;
  std::vector<std::string> only;
  int64_t tokens = 1024;
};

/// "3:1"
std::pair<int64_t, int64_t> parse_head(const std::string& text) {
  int64_t layer = 0, head = 0;
  const char* const end = text.data() + text.size();
  const auto [colon, error] = std::from_chars(text.data(), end, layer);
  if (error == std::errc() && colon != end && *colon == ':') {
    const auto [last, second] = std::from_chars(colon + 1, end, head);
    if (second == std::errc() && last == end) return {layer, head};
  }
  throw InputError::format("--head is '{}'; expected LAYER:HEAD, such as 0:1, counted from 0",
                           text);
}

/// Where no log says which heads there are, all of a policy by index are alike: 0:0 stands for
/// them.
void check_head(const std::vector<HeldCache>& caches, std::pair<int64_t, int64_t> asked,
                const std::string& text) {
  int64_t layers = 1, heads = 1;
  for (const HeldCache& cache : caches) {
    layers = std::max<int64_t>(layers, std::ssize(cache.heads));
    for (const auto& of_layer : cache.heads) heads = std::max<int64_t>(heads, std::ssize(of_layer));
  }
  if (asked.first < 0 || asked.first >= layers || asked.second < 0 || asked.second >= heads) {
    throw InputError::format("--head is '{}'; expected a layer below {} and a key head below {}",
                             text, layers, heads);
  }
}

void print_decisions(const DecisionsOptions& options) {
  Results results = read_results(options.folder);
  std::erase_if(results.cells, [&](const CellResult& cell) {
    return !is_chosen(cell.cell.id, options.only) || !cell.error.empty();
  });
  std::vector<std::string> left_out;
  const std::vector<HeldCache> caches = read_held_caches(results, options.folder, left_out);
  if (caches.empty()) {
    throw InputError::format(
        "{}: no cell has a decision log; expected an experiment with decisions: true and a policy "
        "by score",
        options.folder);
  }
  std::optional<std::pair<int64_t, int64_t>> drawn;
  if (!options.head.empty()) {
    drawn = parse_head(options.head);
    check_head(caches, *drawn, options.head);
  }
  print_out("{}\n", format_held(caches, terminal_width()));
  print_out(
      "evicted: entries, and their age in tokens as they left\n"
      "first 4, recent, older: shares of what was held, over time; recent: within the cache's "
      "size, as a window would have it\n"
      "replaced: of what was held beyond what is protected, the share that was gone as "
      "many tokens later as the cache has (0 %: frozen, 100 %: a window)\n");
  for (const std::string& line : left_out) print_out("left out: {}\n", line);
  if (!drawn) return;
  const auto [layer, head] = *drawn;
  const fs::path plots = fs::path(options.folder) / "plots";
  for (const HeldCache& cache : caches) {
    const std::string name = draw_held(cache, layer, head, options.tokens, plots);
    print_out("{}  (and .png, .gp, .csv)\n", (plots / (name + ".svg")).string());
  }
}

}  // namespace

void add_decisions(CommandLine app) {
  auto options = std::make_shared<DecisionsOptions>();
  CommandLine command = app.add_subcommand(
      "decisions", "Show what caches held over time, from the decision logs of a results folder");
  command.add_option("folder", options->folder, "The folder that `run` wrote, with decisions: true")
      .required();
  command
      .add_option("--only", options->only, "Cells whose id matches, such as '*-h2o-*' (repeatable)")
      .repeatable();
  command.add_option("--head", options->head,
                     "Draw what a key head holds, LAYER:HEAD, into DIR/plots (gnuplot)");
  command.add_option("--tokens", options->tokens, "Draw so many tokens")
      .check(integer(2, 1'000'000))
      .capture_default_str();
  command.footer("Example: sinkbench decisions results/caches --head 0:0");
  command.callback([options] { print_decisions(*options); });
}

}  // namespace sinkbench
