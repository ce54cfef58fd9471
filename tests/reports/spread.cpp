// How texts and seeds agree, on paper.
#include "reports/spread.h"

#include <cmath>

#include "policies/registry.h"
#include "reports/findings.h"
#include "reports/tables.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"

using namespace sinkbench;

namespace {

void add(Results& results, const std::string& text, const std::string& policy,
         PolicyArguments arguments, double nll) {
  const PolicySpec spec{.name = policy,
                        .arguments = with_defaults(find_policy(policy), std::move(arguments))};
  const auto made = make_policy(spec);
  CellResult cell = test::example_cell(text + policy + made->label(), spec, made->label());
  cell.cache_label = made->cache();
  cell.cache_size = made->size();
  cell.cell.dataset.texts = {"/texts/" + text};
  cell.model_sha256 = "m";
  cell.dataset_sha256 = text;
  cell.perplexity.emplace();
  cell.perplexity->nll_mean = nll;
  cell.perplexity->token = std::exp(nll);
  cell.perplexity->scored = 100;
  results.cells.push_back(cell);
}

}  // namespace

TEST_CASE("what is above dense is above dense attention whose distances aren't capped") {
  for (const bool capped_first : {false, true}) {
    Results results;
    for (const std::string text : {"a", "b"}) {
      for (const bool capped : {capped_first, !capped_first}) {
        add(results, text, "dense", {}, capped ? 3.0 : 1.0);
        if (!capped) continue;
        results.cells.back().cell.policy.positions = Positions::capped;
        results.cells.back().cell.policy.cap = 16;
        results.cells.back().cell.id += "capped";
      }
      add(results, text, "window", {{"window", 8}}, 2.0);
    }
    const std::vector<Spread> found = spreads(results);
    REQUIRE(found.size() == 2);  // the window and the capped one
    for (const Spread& spread : found) {
      CHECK(spread.mean == Approx(spread.label.starts_with("window") ? 1.0 : 2.0));
    }
  }
}

TEST_CASE("texts and seeds spread as their standard deviations have it") {
  Results results;
  for (const auto& [text, dense] : {std::pair{"a", 1.0}, {"b", 2.0}, {"c", 3.0}}) {
    add(results, text, "dense", {}, dense);
  }
  add(results, "a", "window", {{"window", 8}}, 1.5);
  add(results, "b", "window", {{"window", 8}}, 2.7);
  add(results, "c", "window", {{"window", 8}}, 3.9);
  add(results, "a", "window", {{"window", 9}}, 3.9);  // one text alone
  for (const auto& [seed, more] : {std::pair{0, 0.1}, {1, 0.3}}) {
    add(results, "a", "random", {{"capacity", 32}, {"seed", seed}}, 1.0 + more);
    add(results, "b", "random", {{"capacity", 32}, {"seed", seed}}, 2.2 + more);
  }
  const std::vector<Spread> found = spreads(results);
  REQUIRE(found.size() == 2);
  const Spread& window = found[0];
  CHECK(window.label == "window 0+8");
  CHECK(window.texts == 3);
  CHECK(window.seeds == 1);
  CHECK(window.mean == Approx(0.7));
  CHECK(window.deviation == Approx(0.2));  // 0.5, 0.7, 0.9
  CHECK(window.least == Approx(0.5));
  CHECK(window.most == Approx(0.9));
  CHECK(!window.over_seeds);
  const Spread& random = found[1];
  CHECK(random.label == "random 32");
  CHECK(random.texts == 2);
  CHECK(random.seeds == 2);
  CHECK(random.mean == Approx(0.3));                     // 0.2 and 0.4
  CHECK(random.deviation == Approx(std::sqrt(0.02)));    // of these two
  CHECK(*random.over_seeds == Approx(std::sqrt(0.02)));  // of 0.1 and 0.3
  const std::string text = format_report(results, ReportFormat::table);
  CHECK_THAT(text, ContainsSubstring("Above dense attention, over texts\n"));
  CHECK_THAT(text, ContainsSubstring("window 0+8      3            0.7000      0.2000  0.5000"));
  CHECK_THAT(spread_csv(results), ContainsSubstring(",random 32,float32,native,2,2,0.3"));

  // Pieces of the same texts, or another length of them, are no other texts.
  Results pieces;
  for (const int64_t reset : {0, 50}) {
    add(pieces, "a", "dense", {}, 1.0);
    add(pieces, "a", "window", {{"window", 8}}, 1.5);
    if (reset == 0) continue;
    for (size_t i = 2; i < 4; ++i) pieces.cells[i].cell.dataset.reset = Reset{reset};
  }
  CHECK(spreads(pieces).empty());
  for (size_t i = 2; i < 4; ++i) {
    pieces.cells[i].cell.dataset.reset.reset();
    pieces.cells[i].cell.dataset.tokens = 50;
    pieces.cells[i].dataset_sha256 = "shorter";
  }
  CHECK(spreads(pieces).empty());

  // What ran otherwise is compared with dense attention that ran so, or with none.
  results.cells[0].cell.dtype = results.cells[1].cell.dtype = "bfloat16";
  CHECK(spreads(results).empty());
}

TEST_CASE("findings name the model and the text where there are several") {
  Results results;
  add(results, "a", "dense", {}, 1.0);
  add(results, "a", "window", {{"window", 8}}, 1.0 + std::log(1.25));
  CHECK(findings(results) == std::vector<std::string>{"window 0+8: perplexity 25 % above dense"});
  add(results, "b", "dense", {}, 2.0);
  add(results, "b", "window", {{"window", 8}}, 2.0 + std::log(1.5));
  CHECK(findings(results) ==
        std::vector<std::string>{"a, window 0+8: perplexity 25 % above dense",
                                 "b, window 0+8: perplexity 50 % above dense"});
  results.cells[3].cell.policy.positions = Positions::frozen;
  CHECK(findings(results).back() == "b, window 0+8, frozen: perplexity 50 % above dense");
  for (int64_t window = 9; window < 40; ++window) {
    add(results, "a", "window", {{"window", window}}, 1.0 + 0.01 * static_cast<double>(window));
  }
  CHECK(findings(results).empty());
}
