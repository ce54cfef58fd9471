#include "eval/results/common_tokens.h"

#include <cmath>

#include "eval/results/nll_file.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

/// A cell that scored `count` tokens, one in `stride`: that of token i * stride + 1 is given.
template <typename Value>
CellResult cell_of(const test::TemporaryFolder& folder, const std::string& id, int64_t count,
                   int64_t stride, Value value) {
  CellResult cell = test::example_cell(id, {.name = "dense"}, "dense");
  cell.model_sha256 = "model";
  cell.dataset_sha256 = "stream";
  cell.nll_file = id + ".f64";
  NllFile file(folder.path() / cell.nll_file, NllPrecision::float64);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double nll = value(i * stride);
    file.append(std::vector{nll});
    sum += nll;
  }
  file.finish();
  cell.perplexity = {
      .nll_mean = sum / static_cast<double>(count), .scored = count, .stride = stride};
  return cell;
}

}  // namespace

TEST_CASE("where strides differ, perplexities are known over the same tokens") {
  const test::TemporaryFolder folder;
  // The tokens at multiples of 12 are hard, so that who scores few of the others looks bad.
  const auto hard = [](double more) {
    return [more](int64_t token) { return (token % 12 == 0 ? 6.0 : 1.0) + more; };
  };
  Results results = test::example_results();
  results.cells = {
      cell_of(folder, "all", 100, 1, hard(0)), cell_of(folder, "fourth", 25, 4, hard(0.25)),
      cell_of(folder, "sixth", 17, 6, hard(-0.25)), cell_of(folder, "elsewhere", 10, 10, hard(0))};
  results.cells[3].dataset_sha256 = "another stream";
  CHECK(!nll_above(results.cells[1], results.cells[0]));
  REQUIRE(find_common_tokens(results, folder.path()));
  // One in 12 of 0..99: 0, 12, ..., 96.
  for (size_t i = 0; i < 3; ++i) {
    INFO(i);
    REQUIRE(results.cells[i].common);
    CHECK(results.cells[i].common->stride == 12);
    CHECK(results.cells[i].common->scored == 9);
    CHECK(results.cells[i].common->nll_mean == Approx(std::vector<double>{6, 6.25, 5.75}[i]));
    CHECK(results.cells[i].common->nll_stderr == Approx(0).margin(1e-12));
  }
  CHECK(!results.cells[3].common);
  CHECK(*nll_above(results.cells[1], results.cells[0]) == Approx(0.25));
  CHECK(*nll_above(results.cells[2], results.cells[1]) == Approx(-0.5));
  CHECK(results.cells[1].perplexity->nll_mean > 2.9);  // (9 * 6 + 16) / 25 + 0.25

  // A shorter one has fewer of them; where all strides are the same there is nothing to say.
  results.cells[1] = cell_of(folder, "fourth", 10, 4, hard(1));
  REQUIRE(find_common_tokens(results, folder.path()));
  CHECK(results.cells[0].common->scored == 4);  // 0, 12, 24, 36
  CHECK(*nll_above(results.cells[1], results.cells[0]) == Approx(1));
  results.cells = {cell_of(folder, "fourth", 25, 4, hard(0)),
                   cell_of(folder, "too", 25, 4, hard(0.5))};
  results.cells[0].common = {.stride = 3};
  CHECK(!find_common_tokens(results, folder.path()));
  CHECK(!results.cells[0].common);
  CHECK(*nll_above(results.cells[1], results.cells[0]) == Approx(0.5));
  // What can't be looked at again stays.
  results.cells.push_back(results.cells.front());
  results.cells[2].nll_file = "nowhere.f64";
  results.cells[2].perplexity->stride = 2;
  for (CellResult& cell : results.cells) cell.common = {.stride = 4, .scored = 3, .nll_mean = 2};
  CHECK(!find_common_tokens(results, folder.path()));
  CHECK(results.cells[1].common->nll_mean == 2);
  // Where it is of other tokens, as in results of two runs, they have nothing in common.
  results.cells[1].common->scored = 2;
  CHECK(!find_common_tokens(results, folder.path()));
  for (const CellResult& cell : results.cells) CHECK(!cell.common);
  // A file that isn't the results', and a stride that is none.
  results.cells = {cell_of(folder, "all", 100, 1, hard(0)),
                   cell_of(folder, "fourth", 25, 4, hard(0))};
  results.cells[1].perplexity->scored = 26;
  CHECK_THROWS_WITH(find_common_tokens(results, folder.path()),
                    ContainsSubstring("fourth.f64: 25 numbers; expected 26"));
  results.cells[1].perplexity->stride = 0;
  CHECK(!find_common_tokens(results, folder.path()));
  // One token is no sample, and a stride beyond all streams none at all.
  for (const int64_t stride : {int64_t{1000}, int64_t{1} << 40}) {
    results.cells = {cell_of(folder, "all", 100, 1, hard(0)),
                     cell_of(folder, "first", 1, stride, hard(0))};
    CHECK(!find_common_tokens(results, folder.path()));
  }
}
