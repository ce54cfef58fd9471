// Results as a run leaves them, with round numbers.
#pragma once

#include "eval/results/results.h"
#include "policies/registry.h"

namespace sinkbench::test {

inline CellResult example_cell(const std::string& id, PolicySpec policy, const std::string& label) {
  CellResult result;
  result.cell.id = id;
  result.cell.model = {.path = "/models/tiny"};
  result.cell.dataset = {.texts = {"/texts/book.txt"}, .tokens = 8192};
  result.cell.policy = std::move(policy);
  result.model_sha256 = "m0";
  result.tokenizer_sha256 = "t0";
  result.dataset_sha256 = "d0";
  result.text = {.files = {"/texts/book.txt"},
                 .documents = 1,
                 .characters = 30000,
                 .replaced_bytes = 2,
                 .crlf_line_ends = 600,
                 .byte_order_marks = 1,
                 .notes = {"/texts/book.txt: line ends are CRLF (600), kept as they are"}};
  result.context = 256;
  result.parameters = 1'500'000;
  result.threads = 2;
  result.policy_label = label;
  const auto made = make_policy(result.cell.policy);
  result.cache_label = made->cache();
  result.cache_size = made->size();
  result.seconds = 12.5;
  return result;
}

/// Dense timed at two lengths, sinks, recomputation with a stride, and a cell that failed.
inline Results example_results() {
  Results results;
  results.info = {.name = "example",
                  .config_sha256 = "c0",
                  .started = "2026-01-02T03:04:05Z",
                  .versions = {{"sinkbench", "0.1.0"}, {"libtorch", "1.13.1"}},
                  .machine = {{"cpu", "A Processor"}, {"cores", "2"}},
                  .warnings = {"the machine is busy"}};

  CellResult dense = example_cell("tiny-book-8192-dense-float32", {.name = "dense"}, "dense");
  dense.perplexity = {.token = 1234.5678,
                      .token_stderr = 12.25,
                      .nll_mean = 7.11847,
                      .nll_stderr = 0.0099225,
                      .scored = 8191,
                      .stride = 1,
                      .word = 98765.4321,
                      .byte = 3.668,
                      .bits_per_byte = 1.875};
  dense.scoring_seconds = 4;
  dense.latency = {{.p50_ms = 1.5,
                    .p90_ms = 1.75,
                    .p99_ms = 2.25,
                    .max_ms = 2.25,
                    .samples = 3,
                    .cache_entries = 256,
                    .fewest_entries = 256,
                    .samples_ms = {1.5, 1.25, 2.25}},
                   {.p50_ms = 10.125,
                    .p90_ms = 11,
                    .p99_ms = 12,
                    .max_ms = 12.5,
                    .samples = 2,
                    .cache_entries = 8191,
                    .fewest_entries = 8191,
                    .samples_ms = {10, 10.25}}};
  dense.memory = {.cache_entries = 8191,
                  .mean_entries = 8191,
                  .kv_bytes_formula = 12'582'912,
                  .kv_bytes_held = 12'582'912,
                  .weight_bytes = 6'291'456,
                  .peak_rss_bytes = 536'870'912};
  dense.nll_file = "nll/tiny-book-8192-dense-float32.f32";
  results.cells.push_back(dense);

  CellResult sinks =
      example_cell("tiny-book-8192-sinks-4+252-float32",
                   {.name = "sinks", .arguments = {{"sinks", 4}, {"window", 252}}}, "4+252");
  sinks.perplexity = {.token = 45.678,
                      .token_stderr = 0.4321,
                      .nll_mean = 3.82162,
                      .nll_stderr = 0.00946,
                      .scored = 8191,
                      .stride = 1,
                      .word = 345.678,
                      .byte = 2.5,
                      .bits_per_byte = 1.32193};
  sinks.scoring_seconds = 2;
  sinks.latency = {{.p50_ms = 1.5,
                    .p90_ms = 1.6,
                    .p99_ms = 1.7,
                    .max_ms = 1.75,
                    .samples = 128,
                    .cache_entries = 256,
                    .fewest_entries = 256,
                    .samples_ms = std::vector<double>(128, 1.5)}};
  sinks.memory = {.cache_entries = 256,
                  .mean_entries = 256,
                  .kv_bytes_formula = 393'216,
                  .kv_bytes_held = 393'216,
                  .weight_bytes = 6'291'456,
                  .peak_rss_bytes = 104'857'600};
  sinks.nll_file = "nll/tiny-book-8192-sinks-4+252-float32.f32";
  results.cells.push_back(sinks);

  CellResult recompute = example_cell(
      "tiny-book-8192-recompute-256-1-in-8-float32",
      {.name = "recompute", .arguments = {{"sinks", 0}, {"stride", 8}, {"window", 256}}},
      "recompute 256 (1 in 8)");
  recompute.perplexity = {.token = 44.5,
                          .token_stderr = 1.25,
                          .nll_mean = 3.79549,
                          .nll_stderr = 0.02809,
                          .scored = 1024,
                          .stride = 8,
                          .word = {},
                          .byte = {},
                          .bits_per_byte = {}};
  recompute.scoring_seconds = 64;
  recompute.cell.metrics = {Metric::perplexity};
  recompute.nll_file = "nll/tiny-book-8192-recompute-256-1-in-8-float32.f32";
  results.cells.push_back(recompute);

  CellResult failed = example_cell("tiny-book-8192-window-0+256-float32",
                                   {.name = "window", .arguments = {{"window", 256}}}, "0+256");
  failed.error = "out of memory";
  results.cells.push_back(failed);
  return results;
}

}  // namespace sinkbench::test
