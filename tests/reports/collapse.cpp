#include "reports/collapse.h"

#include <cmath>
#include <cstring>
#include <random>

#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

using Series = std::vector<double>;

/// Values of the same noise, which two cells on one text share, and `jump` from `from` on.
Series series(size_t length, double jump, size_t from, double own_noise, unsigned seed) {
  std::mt19937 shared(1), own(seed);
  std::normal_distribution<double> normal;
  Series result;
  for (size_t i = 0; i < length; ++i) {
    result.push_back(static_cast<float>(4 + 2 * normal(shared) + own_noise * normal(own) +
                                        (i >= from ? jump : 0)));
  }
  return result;
}

std::optional<int64_t> onset(const Series& cell, const Series& reference, int64_t window,
                             double margin) {
  return collapse_onset({cell}, {reference}, {.window = window, .margin = margin});
}

}  // namespace

TEST_CASE("a jump is found where the running mean has crossed the margin") {
  const Series flat(100, 3.0F);
  Series jump = flat;
  for (size_t i = 40; i < 100; ++i) jump[i] += 2;
  // Of a window of 10, k values after the jump make a mean of 0.2 k: above 0.5 from k = 3 on, and
  // the third one, index 42, is token 43.
  CHECK(onset(jump, flat, 10, 0.5) == 43);
  CHECK(onset(jump, flat, 10, 1.9) == 50);
  CHECK(onset(jump, flat, 10, 2.0) == std::nullopt);  // above, not at
  CHECK(onset(jump, flat, 1, 0.5) == 41);
  CHECK(onset(flat, jump, 10, 0.5) == std::nullopt);  // better is no collapse
  CHECK(onset(flat, flat, 10, 0.5) == std::nullopt);
  // From the first token on: the first whole window ends at token 10.
  Series high(100, 6.0F);
  CHECK(onset(high, flat, 10, 0.5) == 10);
}

TEST_CASE("it must stay above for a window that has nothing in common with the first") {
  const Series flat(100, 3.0F);
  Series spike = flat;
  spike[50] = 1000;
  CHECK(onset(spike, flat, 10, 0.5) == std::nullopt);
  // A stretch that lifts a window's mean above the margin, and is over again.
  Series stretch = flat;
  for (size_t i = 50; i < 54; ++i) stretch[i] += 2;
  CHECK(onset(stretch, flat, 10, 0.5) == std::nullopt);
  // The stream ends before it is certain, and just after.
  Series late = flat;
  for (size_t i = 40; i < 100; ++i) late[i] += 2;
  CHECK(onset(Series(late.begin(), late.begin() + 52), Series(52, 3.0F), 10, 0.5) == std::nullopt);
  CHECK(onset(Series(late.begin(), late.begin() + 53), Series(53, 3.0F), 10, 0.5) == 43);
  CHECK(onset({}, {}, 10, 0.5) == std::nullopt);
}

TEST_CASE("with strides the tokens that both scored are compared, at their places") {
  Series every(240, 3.0F), third(80, 3.0F), half(120, 3.0F);
  for (size_t t = 0; t < 240; ++t) every[t] += t >= 120 ? 2 : t % 3 == 0 ? 0 : 50;
  // In the third's places nothing is seen of the 50 in between. Values 40, 41, 42 are above: that
  // of index 42 is token 42 * 3 + 1.
  CHECK(collapse_onset({every, 1}, {third, 3}, {.window = 10, .margin = 0.5}) == 127);
  for (size_t i = 40; i < 80; ++i) third[i] += 2;
  CHECK(collapse_onset({every, 1}, {third, 3}, {.window = 10, .margin = 0.5}) == std::nullopt);
  // Every sixth token is in both: indices 20, 21, 22 of these, token 22 * 6 + 1.
  CHECK(collapse_onset({third, 3}, {half, 2}, {.window = 10, .margin = 0.5}) == 133);
}

TEST_CASE("noise makes no onset, and hides none") {
  constexpr size_t length = 200'000;
  const CollapseSpec spec;  // the defaults
  int found = 0;
  for (unsigned seed = 2; seed < 12; ++seed) {
    // A healthy policy: a little worse, with its own noise of 1 nat for each token.
    const Series reference = series(length, 0, 0, 0, seed);
    CHECK(collapse_onset({series(length, 0.1, 0, 1, seed)}, {reference}, spec) == std::nullopt);
    const auto place = collapse_onset({series(length, 1, length / 2, 1, seed)}, {reference}, spec);
    REQUIRE(place);
    found += std::abs(*place - static_cast<int64_t>(length / 2 + spec.window / 2)) < 64 ? 1 : 0;
  }
  CHECK(found == 10);
}

TEST_CASE("collapses of a run, from its NLL files") {
  const test::TemporaryFolder folder;
  Results results = test::example_results();
  const auto write = [&](CellResult& cell, const Series& nll, int64_t stride) {
    const std::vector<float> narrow(nll.begin(), nll.end());
    std::string bytes(nll.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), narrow.data(), bytes.size());
    folder.write(cell.nll_file, bytes);
    double sum = 0;
    for (const float value : nll) sum += value;
    cell.perplexity->nll_mean = sum / static_cast<double>(nll.size());
    cell.perplexity->stride = stride;
    cell.perplexity->scored = std::ssize(nll);
  };
  CellResult& dense = results.cells[0];
  CellResult& sinks = results.cells[1];
  CellResult& recompute = results.cells[2];
  Series broken(800, 3.0F);
  for (size_t i = 400; i < 800; ++i) broken[i] = 9;
  write(dense, broken, 1);
  write(sinks, Series(800, 3.25F), 1);
  write(recompute, Series(100, 3.0F), 8);
  const CollapseSpec spec{.window = 20, .margin = 0.5};

  // Nothing is named: the lowest NLL of those that scored every token.
  find_collapses(results, folder.path(), spec);
  REQUIRE(dense.collapse);
  CHECK(dense.collapse->reference == sinks.cell.id);
  CHECK(dense.collapse->window == 20);
  CHECK(dense.collapse->margin == 0.5);
  // Means of -0.25 * (20 - k) / 20 + 5.75 * k / 20 are above 0.5 from k = 3 on.
  CHECK(dense.collapse->onset == 403);
  CHECK(!sinks.collapse);  // it is the reference
  REQUIRE(recompute.collapse);
  CHECK(!recompute.collapse->onset);
  CHECK(!results.cells[3].collapse);  // it failed

  for (CellResult& cell : results.cells) cell.cell.reference = recompute.cell.id;
  find_collapses(results, folder.path(), spec);
  REQUIRE(dense.collapse);
  CHECK(dense.collapse->reference == recompute.cell.id);
  CHECK(dense.collapse->onset == 401 + 8);  // 6 * k / 20 above 0.5: the second of every eighth
  REQUIRE(sinks.collapse);
  CHECK(!sinks.collapse->onset);
  CHECK(!recompute.collapse);

  // Without the cell that is named nothing is said.
  for (CellResult& cell : results.cells) cell.cell.reference = results.cells[3].cell.id;
  find_collapses(results, folder.path(), spec);
  CHECK(!dense.collapse);
  // Another text's cell is no reference.
  for (CellResult& cell : results.cells) cell.cell.reference.clear();
  dense.dataset_sha256 = "d1";
  find_collapses(results, folder.path(), spec);
  CHECK(!dense.collapse);
}
