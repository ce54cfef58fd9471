#include "reports/findings.h"

#include <cmath>

#include "tests/catch.h"
#include "tests/eval/experiment/example.h"

using namespace sinkbench;

TEST_CASE("findings say how far a policy is from dense, and at what memory") {
  Results results = test::example_results();
  CellResult dense = results.cells[0], sinks = results.cells[0];
  dense.cell.policy = {.name = "dense", .arguments = {}};
  dense.cache_label = "all";
  sinks.cell.policy = {.name = "sinks", .arguments = {{"sinks", 4}, {"window", 508}}};
  sinks.cache_label = "4+508";
  dense.perplexity->nll_mean = std::log(25);
  dense.memory = MemoryResult{.kv_bytes_formula = 1600};
  sinks.memory = MemoryResult{.kv_bytes_formula = 100};
  const auto line = [&](double perplexity) {
    sinks.perplexity->nll_mean = std::log(perplexity);
    results.cells = {sinks, dense};
    return findings(results);
  };
  using Lines = std::vector<std::string>;
  CHECK(line(26) == Lines{"sinks 4+508: perplexity 4.0 % above dense, at 1/16 of its memory"});
  CHECK(line(24) == Lines{"sinks 4+508: perplexity 4.0 % below dense, at 1/16 of its memory"});
  CHECK(line(40) == Lines{"sinks 4+508: perplexity 60 % above dense, at 1/16 of its memory"});
  CHECK(line(250) == Lines{"sinks 4+508: perplexity 10 times dense's, at 1/16 of its memory"});
  CHECK(line(25) == Lines{"sinks 4+508: perplexity as dense, at 1/16 of its memory"});
  sinks.memory->kv_bytes_formula = 1600;
  CHECK(line(26) == Lines{"sinks 4+508: perplexity 4.0 % above dense"});
  // Over other tokens nothing is found, unless both are known over the same.
  sinks.perplexity->stride = 8;
  CHECK(line(26).empty());
  dense.common = {.stride = 8, .scored = 20, .nll_mean = std::log(30)};
  CHECK(line(26).empty());
  sinks.common = {.stride = 8, .scored = 20, .nll_mean = std::log(33)};
  CHECK(line(26) == Lines{"sinks 4+508: perplexity 10 % above dense over the same tokens, 1 in 8"});
  sinks.common->scored = 19;
  CHECK(line(26).empty());
  sinks.common.reset();
  sinks.perplexity->stride = 1;
  // Of an upper bound nothing is found.
  sinks.cell.policy = {.name = "oracle", .arguments = {{"capacity", 512}}};
  CHECK(line(26).empty());
  sinks.cell.policy = {.name = "sinks", .arguments = {{"sinks", 4}, {"window", 508}}};
  // Nothing without a dense cell of the same text.
  sinks.cell.dataset.tokens = 77;
  CHECK(line(26).empty());
}
