#include "training/train.h"

#include <unistd.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "tests/catch.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// A folder that is empty at first and gone at the end.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / fmt::format("sinkbench-train-{}", ::getpid())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  fs::path operator/(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

constexpr double kCopied = 0.9;

/// Lines of four letters, each the letter two before it with probability 0.9, else one of the other
/// three. Nothing but attention to the token before helps to predict it.
std::string toy_line(std::mt19937& random) {
  std::string line = "ab";
  for (int i = 2; i < 2000; ++i) {
    const char copied = line[line.size() - 2];
    const bool copy = random() % 1000 < kCopied * 1000;
    line += copy ? copied : static_cast<char>('a' + (copied - 'a' + 1 + random() % 3) % 4);
  }
  return line;
}

/// A model of two layers on toy lines whose vocabulary is the 256 bytes and the BOS.
TrainConfig toy(const Folder& folder) {
  std::mt19937 random(5);
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    lines += fmt::format("{{\"title\": \"line {}\", \"text\": \"{}\"}}\n", i, toy_line(random));
  }
  write_file_atomically(folder / "toy.jsonl", lines);
  TrainConfig config;
  config.corpus.text = {folder / "toy.jsonl"};
  config.corpus.held_out = 0.2;
  config.tokenizer.vocab = 257;
  config.model = {2, 32, 2, 64, 257};
  config.schedule.steps = 30;
  config.schedule.batch = 8;
  config.schedule.sample_tokens = 64;
  config.schedule.learning_rate = 1e-2;
  config.schedule.final_learning_rate = 1e-3;
  config.schedule.warmup_steps = 5;
  config.schedule.repeat_probability = 0.5;
  config.schedule.repeat_min_tokens = 4;
  config.schedule.repeat_max_tokens = 32;
  config.checkpoint_steps = 10;
  config.validation_steps = 7;
  config.validation_samples = 20;
  config.export_bfloat16 = false;
  return config;
}

TrainOptions into(const fs::path& out) {
  TrainOptions options;
  options.out = out;
  return options;
}

/// Stops after so many steps of this call.
TrainOptions stopping(const fs::path& out, int steps) {
  TrainOptions options = into(out);
  options.should_stop = [steps]() mutable { return --steps == 0; };
  return options;
}

struct Killed {};

void check_same(const fs::path& a, const fs::path& b) {
  for (const char* name : {"loss.csv", "validation.csv", "model.safetensors", "config.json",
                           "tokenizer.json", "checkpoint.pt"}) {
    INFO(name);
    CHECK((read_file(a / name) == read_file(b / name)));
  }
}

}  // namespace

TEST_CASE("a training that was interrupted ends as one that wasn't, to the last bit") {
  const Folder folder;
  TrainConfig config = toy(folder);
  config.schedule.bfloat16 = GENERATE(false, true);
  const TrainResult whole = train(config, into(folder / "whole"));
  CHECK(whole.finished);
  CHECK(whole.steps == 30);

  SECTION("by a signal, which leaves a checkpoint") {
    const TrainResult first = train(config, stopping(folder / "parts", 13));
    CHECK(!first.finished);
    CHECK(first.steps == 13);
    CHECK(train(config, stopping(folder / "parts", 4)).steps == 17);
    const TrainResult last = train(config, into(folder / "parts"));
    CHECK(last.finished);
    CHECK(last.held_out_loss == whole.held_out_loss);
    check_same(folder / "whole", folder / "parts");
  }
  SECTION("by a death between two checkpoints") {
    TrainOptions options = into(folder / "parts");
    options.should_stop = [steps = 17]() mutable -> bool {
      if (--steps == 0) throw Killed();
      return false;
    };
    CHECK_THROWS_AS(train(config, options), Killed);
    CHECK(train(config, into(folder / "parts")).finished);
    check_same(folder / "whole", folder / "parts");
  }
  SECTION("after its end there is nothing to do") {
    const std::string before = read_file(folder / "whole" / "loss.csv");
    const TrainResult again = train(config, into(folder / "whole"));
    CHECK(again.finished);
    CHECK(again.held_out_loss == whole.held_out_loss);
    CHECK((read_file(folder / "whole" / "loss.csv") == before));
  }
}

TEST_CASE("a checkpoint of another training is refused") {
  const Folder folder;
  TrainConfig config = toy(folder);
  train(config, stopping(folder / "out", 3));
  std::string message;
  SECTION("another schedule") {
    config.schedule.learning_rate = 2e-2;
    message = "(training.learning_rate: 0.01 there, 0.02 here)";
  }
  SECTION("another corpus") {
    config.corpus.exclude_titles = {"line 3"};
    message = "(data.key: ";
  }
  SECTION("no checkpoint at all") {
    write_file_atomically(folder / "out" / "checkpoint.pt", "not a checkpoint");
    message = "not a checkpoint of a training";
  }
  CHECK_THROWS_WITH(train(config, into(folder / "out")),
                    ContainsSubstring("checkpoint.pt: ") && ContainsSubstring(message));
}

TEST_CASE("a model learns to copy from two tokens back") {
  const Folder folder;
  TrainConfig config = toy(folder);
  config.schedule.steps = 250;
  config.schedule.repeat_probability = 0;
  config.schedule.bfloat16 = GENERATE(false, true);
  config.validation_samples = 100;
  const TrainResult result = train(config, into(folder / "out"));
  // The entropy of the next letter, and ln 4 for the first two of a sample of 64. Without attention
  // no letter is better known than by ln 4 = 1.386.
  const double entropy = -kCopied * std::log(kCopied) - (1 - kCopied) * std::log((1 - kCopied) / 3);
  const double bound = (62 * entropy + 2 * std::log(4.0)) / 64;
  CHECK(result.held_out_loss < bound + 0.06);
  // 6400 letters: the mean's standard deviation is about 0.015.
  CHECK(result.held_out_loss > bound - 0.06);
}

TEST_CASE("the loss starts at that of equal chances and is logged at every step") {
  const Folder folder;
  TrainConfig config = toy(folder);
  config.schedule.steps = 3;
  train(config, into(folder / "out"));
  const std::string log = read_file(folder / "out" / "loss.csv");
  int64_t step = 0, tokens = 0;
  double loss = 0;
  const std::string first = log.substr(log.find('\n') + 1);
  REQUIRE(std::sscanf(first.c_str(), "%ld,%ld,%lf", &step, &tokens, &loss) == 3);
  CHECK(step == 1);
  CHECK(tokens == 8 * 64);
  CHECK(std::abs(loss - std::log(257.0)) < 0.5);
  CHECK(std::count(log.begin(), log.end(), '\n') == 1 + 3);
}

TEST_CASE("a training begins with the weights of an earlier one") {
  const Folder folder;
  TrainConfig config = toy(folder);
  config.schedule.steps = 60;
  const double reached = train(config, into(folder / "first")).held_out_loss;
  config.model.initial = folder / "first";
  config.schedule.steps = 1;
  config.schedule.learning_rate = config.schedule.final_learning_rate = 0;
  config.schedule.weight_decay = 0;
  SECTION("and, where nothing is learnt, keeps its loss to the last bit") {
    CHECK(train(config, into(folder / "second")).held_out_loss == reached);
  }
  SECTION("also where it has fewer layers: the others do nothing yet") {
    config.model.layers = 5;
    CHECK(train(config, into(folder / "second")).held_out_loss == Approx(reached).epsilon(1e-6));
  }
  SECTION("which may not have more layers") {
    config.model.layers = 1;
    CHECK_THROWS_WITH(train(config, into(folder / "second")),
                      "model.initial: expected 1 to 1 layers (model.layers), found 2");
  }
  SECTION("which must be of its shape") {
    config.model.mlp = 48;
    CHECK_THROWS_WITH(train(config, into(folder / "second")),
                      ContainsSubstring("model.safetensors") && ContainsSubstring("mlp."));
  }
}

TEST_CASE("a learning-rate range ends where the loss leaves all bounds, and keeps no model") {
  const Folder folder;
  TrainConfig config = toy(folder);
  const RateRange range = learning_rate_range(config, into(folder / "out"), 1e-4, 10, 80);
  CHECK(range.diverged);
  REQUIRE(range.rates.size() == range.losses.size());
  REQUIRE(range.rates.size() > 20);
  CHECK(range.rates.size() < 80);
  // The same factor from step to step, from the first rate towards the last.
  CHECK(range.rates.front() == 1e-4);
  for (size_t i = 1; i < range.rates.size(); ++i) {
    CHECK(range.rates[i] / range.rates[i - 1] == Approx(std::pow(1e5, 1 / 79.0)));
  }
  // The rate that the toy is trained with lies in the middle of what works.
  CHECK(range.steepest > 1e-3);
  CHECK(range.steepest < 0.3);
  CHECK(range.steepest < range.lowest);
  CHECK(range.lowest < range.rates.back());
  CHECK(fs::exists(folder / "out/learning-rate-range.csv"));
  CHECK(!fs::exists(folder / "out/checkpoint.pt"));
  CHECK(!fs::exists(folder / "out/model.safetensors"));
  CHECK_THROWS_WITH(learning_rate_range(config, into(folder / "out"), 1, 1e-3, 80),
                    "learning-rate range: expected 0 < from < to and 10 steps or more, found from "
                    "1 to 0.001 in 80");
}

TEST_CASE("a corpus that is missing or too small is refused") {
  const Folder folder;
  TrainConfig config = toy(folder);
  SECTION("missing") {
    config.corpus.text = {folder / "nowhere.jsonl"};
    CHECK_THROWS_WITH(train(config, into(folder / "out")),
                      ContainsSubstring("nowhere.jsonl: no such file or folder"));
  }
  SECTION("nothing held out") {
    config.corpus.held_out = 0;
    CHECK_THROWS_WITH(train(config, into(folder / "out")),
                      ContainsSubstring("expected at least 64 tokens held out, found 0"));
  }
  SECTION("too little for the vocabulary") {
    config.tokenizer.vocab = 60000;
    CHECK_THROWS_WITH(train(config, into(folder / "out")),
                      ContainsSubstring("too little text for a vocabulary of 60000"));
  }
}
