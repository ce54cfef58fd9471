#include "reports/recall.h"

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "reports/gnuplot.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

using Distances = std::vector<int64_t>;

/// 1 2 comes three times, 5 5 four times, 2 3 twice.
const FedStream stream = {.ids = {1, 2, 3, 1, 2, 9, 1, 2, 3, 5, 5, 5, 5, 5}};

}  // namespace

TEST_CASE("how far back the same two tokens stood, by hand") {
  CHECK(recall_distances(stream, 3) == Distances{0, 0, 0, 0, 3, 0, 0, 3, 6, 0, 0, 0, 0, 0});
  CHECK(recall_distances(stream, 4) == Distances{0, 0, 0, 0, 3, 0, 0, 3, 6, 0, 0, 1, 1, 1});
  CHECK(recall_distances(stream, 2) == Distances{0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0});
  // Nothing is remembered from one piece to the next, but pairs count in all of them.
  FedStream pieces = stream;
  pieces.pieces = {0, 6};
  CHECK(recall_distances(pieces, 3) == Distances{0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("NLLs are split by distance, each of them once") {
  const Results results = test::example_results();
  CellResult cell = results.cells[0];
  cell.perplexity->stride = 1;
  std::vector<double> nll;  // of token t: t
  for (int64_t t = 1; t < std::ssize(stream.ids); ++t) nll.push_back(static_cast<double>(t));
  const RecallSplit split = split_recall(cell, stream, nll, 3);
  REQUIRE(split.bins.size() == 3);  // 1, 2-3, 4-7
  CHECK(split.bins[0].tokens == 0);
  CHECK(split.bins[1].tokens == 2);
  CHECK(split.bins[1].nll == 5.5);      // tokens 4 and 7
  CHECK(split.bins[1].error == 1.5);    // their deviation 2.12 over the root of 2
  CHECK(split.bins[2].nll == 8);
  CHECK(split.rest.tokens == 10);
  CHECK(split.rest.nll == Approx((91.0 - 4 - 7 - 8) / 10));  // 1 + ... + 13 = 91
  const std::vector<RecallSplit> splits = {split, split};
  const std::string text = format_recall(splits, false, 0);
  CHECK_THAT(text, ContainsSubstring("         2-3       2  5.500 ±1.500  5.500 ±1.500\n"));
  CHECK_THAT(text, ContainsSubstring("         4-7       1         8.000         8.000\n"));
  CHECK_THAT(text, !ContainsSubstring("\n           1 "));
  CHECK_THAT(recall_csv(splits), ContainsSubstring(",2,3,2,5.5,1.5\n"));
  CHECK_THAT(recall_csv(splits), ContainsSubstring(",,,10,"));
  // With pieces the first of each isn't scored.
  FedStream pieces = stream;
  pieces.pieces = {0, 6};
  CHECK_THROWS_WITH(split_recall(cell, pieces, nll, 3),
                    ContainsSubstring("there are 13 NLLs, and the text has 12 scored tokens"));
  nll.erase(nll.begin() + 5);  // of token 6
  CHECK(split_recall(cell, pieces, nll, 3).bins[1].nll == 4);
  cell.perplexity->stride = 8;
  CHECK_THROWS_WITH(split_recall(cell, pieces, nll, 3),
                    ContainsSubstring("one token in 8 was scored"));
}

TEST_CASE("a picture of what is recalled has a line for each cell", "[plot]") {
  REQUIRE(!find_gnuplot().empty());
  const Results results = test::example_results();
  RecallSplit split{.cell = &results.cells[1]};
  for (int64_t least = 1; least < 32; least *= 2) {
    split.bins.push_back({.least = least,
                          .most = 2 * least - 1,
                          .tokens = least == 2 ? 9 : 50,  // too few for a point
                          .nll = static_cast<double>(least) / 10,
                          .error = 0.05});
  }
  const test::TemporaryFolder folder;
  const std::vector<RecallSplit> splits = {split};
  const std::vector<std::vector<RecallSplit>> two = {splits, splits}, one = {splits};
  CHECK(draw_pictures(recall_pictures(two), "recall", folder.path() / "plots").drawn ==
        std::vector<std::string>{"recall-1", "recall-2"});
  CHECK(draw_pictures(recall_pictures(one), "recall", folder.path() / "plots").drawn ==
        std::vector<std::string>{"recall"});
  CHECK(!std::filesystem::exists(folder.path() / "plots/recall-1.svg"));
  CHECK(read_file(folder.path() / "plots/recall.csv") ==
        "series,x,y,low,high\nsinks 4+252,1,0.1,0.05,0.15000000000000002\n"
        "sinks 4+252,4,0.4,0.35000000000000003,0.45\nsinks 4+252,8,0.8,0.75,0.8500000000000001\n"
        "sinks 4+252,16,1.6,1.55,1.6500000000000001\n");
}
