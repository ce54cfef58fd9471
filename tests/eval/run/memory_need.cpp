#include "eval/run/memory_need.h"

#include <ATen/ATen.h>

#include <cstdlib>

#include "eval/engines/stepwise.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"

using namespace sinkbench;

TEST_CASE("the memory that a cell needs is that of the weights and of the caches it will have") {
  const std::string dtype = GENERATE("float32", "bfloat16", "float64");
  const at::ScalarType type = dtype == "float32"    ? at::kFloat
                              : dtype == "bfloat16" ? at::kBFloat16
                                                    : at::kDouble;
  const Decoder decoder = Decoder::load(test::data("families/llama_gqa"), {.dtype = type});
  const auto need = [&](const Cell& cell, const Policy& policy, int64_t fed) {
    return memory_need(cell, decoder.config(), decoder.weight_bytes(), policy, fed);
  };
  Cell cell;
  cell.dtype = dtype;
  cell.engine = "stepwise";
  cell.metrics = {Metric::perplexity, Metric::memory};
  const auto dense = make_policy("dense", {});
  const auto sinks = make_policy("sinks", {{"sinks", 4}, {"window", 60}});
  for (const Policy* policy : {dense.get(), sinks.get()}) {
    StepwiseEngine engine(decoder, dynamic_cast<const IndexPolicy&>(*policy));
    engine.reset(500);
    CHECK(need(cell, *policy, 500).cache == engine.kv_bytes_held());
  }
  CHECK(need(cell, *dense, 500).weights == decoder.weight_bytes());

  // Blocks are computed in float32 at the least, and a block's own keys stand beside the cache.
  cell.engine = "chunked";
  cell.chunk = 100;
  const double token = decoder.config().kv_bytes_per_token(dtype == "float64" ? 8 : 4);
  CHECK(need(cell, *sinks, 500).cache == 164 * token);
  CHECK(need(cell, *dense, 500).cache == 600 * token);

  // With divergence, what the reference's engine keeps stands beside it.
  CHECK(
      memory_need(cell, decoder.config(), decoder.weight_bytes(), *sinks, 500, dense.get()).cache ==
      764 * token);

  // A score policy's engine keeps keys and values, and what its scores are made of, of every head:
  // of a sum and a place 16 bytes. A round comes when one more than the capacity is there.
  const auto h2o = make_policy("h2o", {{"capacity", 60}, {"every", 4}});
  const double heads = static_cast<double>(decoder.config().layers * decoder.config().kv_heads);
  CHECK(need(cell, *h2o, 500).cache == 64 * (token + 16 * heads));
  // By index under distances that only a scan can have: one set of places for all heads; keys
  // before rotation stand beside those that are rotated.
  const auto frozen = make_policy("sinks", {{"sinks", 4}, {"window", 60}}, Positions::frozen);
  const auto capped = make_policy("sinks", {{"sinks", 4}, {"window", 60}}, Positions::capped, 60);
  const double places = 8 * static_cast<double>(decoder.config().layers);
  CHECK(need(cell, *frozen, 500).cache == 65 * (token + places));
  CHECK(need(cell, *capped, 500).cache == 65 * (1.5 * token + places));

  // Timed steps at another length; nothing is kept by a policy that recomputes.
  cell.metrics = {Metric::latency};
  cell.latency = {.warmup = 10, .samples = 20, .lengths = {100, 3000}};
  StepwiseEngine engine(decoder, dynamic_cast<const IndexPolicy&>(*dense));
  engine.reset(3030);
  CHECK(need(cell, *dense, 500).cache == engine.kv_bytes_held());
  CHECK(need(cell, *make_policy("recompute", {{"window", 64}}), 500).cache == 0);
}

TEST_CASE("the memory there is can be bounded, and is never more than the machine has") {
  const double machine = available_memory();
  CHECK(machine > 0);
  CHECK(machine < 1e15);
  ::setenv("SINKBENCH_MEMORY_MIB", "3", 1);
  CHECK(available_memory() == 3 * 1024 * 1024);
  ::setenv("SINKBENCH_MEMORY_MIB", "1e12", 1);
  CHECK(available_memory() < 1e15);
  ::unsetenv("SINKBENCH_MEMORY_MIB");
}
