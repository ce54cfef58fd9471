// What caches held, of logs made by hand.
#include "reports/decisions.h"

#include <filesystem>

#include "base/error.h"
#include "eval/results/decision_file.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

/// A cell of `tokens` fed tokens; by score with a log, where there is one.
CellResult cell_of(PolicySpec policy, int64_t tokens, int64_t size, const std::string& log = "") {
  CellResult cell;
  cell.cell.id = policy.name;
  cell.cell.policy = std::move(policy);
  cell.model_sha256 = cell.dataset_sha256 = "same";
  cell.cache_label = std::to_string(size);
  cell.cache_size = size;
  cell.perplexity.emplace();
  cell.perplexity->scored = tokens;
  cell.decisions_file = log;
  return cell;
}

void write_log(const std::filesystem::path& file, const std::vector<EvictionRecord>& records) {
  DecisionFile log(file);
  for (const EvictionRecord& record : records) log.append(record);
  log.finish();
}

}  // namespace

TEST_CASE("a window's log and the window itself are the same; a frozen cache is not") {
  const test::TemporaryFolder folder;
  constexpr int64_t tokens = 100, size = 10;
  std::vector<EvictionRecord> window, frozen;
  for (int64_t t = size; t < tokens; ++t) {
    for (int64_t head = 0; head < 2; ++head) {
      window.push_back({.t = t, .layer = 0, .head = head, .places = {t - size}});
      frozen.push_back({.t = t, .layer = 0, .head = head, .places = {t - 1}});  // keeps 0 to 8
    }
  }
  frozen[0].places = frozen[1].places = {size - 1};
  write_log(folder.path() / "window.zst", window);
  write_log(folder.path() / "frozen.zst", frozen);
  Results results;
  const PolicyArguments capacity = {{"capacity", size}, {"recent", 1}};
  results.cells = {cell_of({"latest", capacity}, tokens, size, "window.zst"),
                   cell_of({"h2o", capacity}, tokens, size, "frozen.zst"),
                   cell_of({"window", {{"window", size}}}, tokens, size),
                   cell_of({"dense", {}}, tokens, size),
                   cell_of({"knorm", capacity}, tokens, size)};
  std::vector<std::string> left_out;
  const std::vector<HeldCache> caches = read_held_caches(results, folder.path(), left_out);
  REQUIRE(caches.size() == 3);
  CHECK(left_out == std::vector<std::string>{"dense: its cache evicts nothing",
                                             "knorm: it has no decision log (decisions: true)"});
  const HeldSummary of_window = summary_of(caches[0]).value();
  CHECK(of_window.evictions_per_head == 90);
  CHECK(of_window.median_age == size);
  CHECK(of_window.replaced == 1);
  CHECK(of_window.older == 0);  // an entry is seen by its own query and `size` after it
  CHECK(of_window.first == Approx(4 * 11 / (90 * 11 + 10 * 11 / 2.0)));
  const HeldSummary of_frozen = summary_of(caches[1]).value();
  CHECK(of_frozen.median_age == 1);
  CHECK(of_frozen.replaced == 0);
  CHECK(of_frozen.first + of_frozen.recent + of_frozen.older == Approx(1));
  CHECK(of_frozen.first > 0.3);
  CHECK(in_common(caches[0], caches[2]).value() == 1);
  CHECK(in_common(caches[0], caches[0]).value() == 1);
  const double common = in_common(caches[0], caches[1]).value();
  CHECK(common == in_common(caches[1], caches[0]).value());
  CHECK(common > 0.1);
  CHECK(common < 0.4);
  const std::string text = format_held(caches, 200);
  CHECK_THAT(text, ContainsSubstring("latest 10"));
  CHECK_THAT(text, ContainsSubstring("100.0 %"));
  CHECK_THROWS_WITH(draw_held(caches[0], 0, 2, 50, folder.path()),
                    ContainsSubstring("there is no head 2 in layer 0; it has 1 layers of 2 key"));
}

TEST_CASE("layers with a window of the model's own are no part of what a policy held") {
  const test::TemporaryFolder folder;
  constexpr int64_t tokens = 100, size = 10;
  std::vector<EvictionRecord> window;
  for (int64_t t = size; t < tokens; ++t) {
    window.push_back({.t = t, .layer = 1, .head = 0, .places = {t - size}});
  }
  write_log(folder.path() / "window.zst", window);
  Results results;
  results.cells = {
      cell_of({"latest", {{"capacity", size}, {"recent", 1}}}, tokens, size, "window.zst"),
      cell_of({"window", {{"window", size}}}, tokens, size)};
  for (CellResult& cell : results.cells) cell.local_layers = {0};
  std::vector<std::string> left_out;
  const std::vector<HeldCache> caches = read_held_caches(results, folder.path(), left_out);
  REQUIRE(caches.size() == 2);
  for (const HeldCache& cache : caches) {
    const HeldSummary summary = summary_of(cache).value();
    CHECK(summary.median_age == size);
    CHECK(summary.older == 0);
    CHECK(summary.replaced == 1);
  }
  CHECK(summary_of(caches[0])->evictions_per_head == 90);
  CHECK(in_common(caches[0], caches[1]).value() == 1);
  CHECK_THROWS_WITH(draw_held(caches[0], 0, 0, 50, folder.path()),
                    ContainsSubstring("layer 0 holds the model's own window"));
  results.cells[0].local_layers = {1};
  CHECK_THROWS_WITH(read_held_caches(results, folder.path(), left_out),
                    ContainsSubstring("a decision of layer 1, which has a window"));
}

TEST_CASE("a log that doesn't fit its cell is refused, other streams have nothing in common") {
  const test::TemporaryFolder folder;
  write_log(folder.path() / "a.zst", {{.t = 50, .layer = 0, .head = 0, .places = {3}}});
  Results results;
  results.cells = {cell_of({"h2o", {}}, 40, 8, "a.zst")};
  std::vector<std::string> left_out;
  CHECK_THROWS_WITH(
      read_held_caches(results, folder.path(), left_out),
      ContainsSubstring("a.zst: [50, 0, 0, ...] is no decision of a stream of 40 tokens"));
  results.cells = {cell_of({"h2o", {}}, 60, 8, "a.zst"), cell_of({"tova", {}}, 60, 8, "a.zst")};
  results.cells[1].dataset_sha256 = "another";
  const auto caches = read_held_caches(results, folder.path(), left_out);
  CHECK(!in_common(caches[0], caches[1]));
}
