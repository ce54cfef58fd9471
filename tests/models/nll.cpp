// NLLs by tiles of the vocabulary against log-softmax of whole logits.
#include <ATen/ATen.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "models/decoder.h"
#include "models/logits_at_once.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
using nlohmann::json;

TEST_CASE("NLLs by tiles of the vocabulary are those of whole logits") {
  at::manual_seed(11);
  // A plain head, one with a bias, a capped and a scaled one.
  for (const std::string family : {"llama_gqa", "phi", "gemma2", "granite"}) {
    const test::TemporaryFolder folder;
    json config = json::parse(read_file(test::data("families") / family / "config.json"));
    const int64_t vocabulary = 2 * columns_of_tile + 77;
    config["vocab_size"] = vocabulary;
    const auto file = folder.write("config.json", config.dump());
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kDouble}) {
      const Decoder decoder = Decoder::random(file, 3, {.dtype = dtype});
      for (const int64_t rows :
           {int64_t{1}, fewest_rows_of_tile - 1, fewest_rows_of_tile, rows_of_tile + 33}) {
        INFO(family << ", " << at::toString(dtype) << ", " << rows << " rows");
        const at::Tensor x =
            at::randn({rows, decoder.config().hidden_size}, decoder.accumulate_dtype()) * 3;
        at::Tensor targets = at::randint(vocabulary, {rows}, at::kLong);
        targets[rows - 1] = vocabulary - 1;
        const at::Tensor logits = decoder.logits(x);
        const at::Tensor right =
            -at::log_softmax(logits.to(at::kDouble), 1).gather(1, targets.unsqueeze(1)).squeeze(1);
        const auto off = [&](const at::Tensor& nll) {
          CHECK(nll.scalar_type() == decoder.accumulate_dtype());
          return (nll.to(at::kDouble) - right).abs().max().item<double>();
        };
        const double least = dtype == at::kDouble ? 1e-12 : 1e-5;
        CHECK(off(decoder.nll_of_logits(logits, targets)) < least);
        // A logit of bfloat16 may be rounded the other way by another division of the product.
        const double one_rounding = logits.abs().max().item<double>() * std::exp2(-7);
        CHECK(off(decoder.nll(x, targets)) < (dtype == at::kBFloat16 ? one_rounding : least));
      }
    }
  }
}
