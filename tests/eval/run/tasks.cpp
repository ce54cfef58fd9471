// Tasks, scored by both engines under policies of all kinds.
#include <ATen/ATen.h>

#include <atomic>
#include <functional>
#include <map>
#include <set>

#include "base/error.h"
#include "eval/results/decision_file.h"
#include "eval/results/nll_file.h"
#include "eval/run/generate.h"
#include "eval/run/run.h"
#include "policies/registry.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/environment.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

const std::string tiny = test::data("../../models/tiny").lexically_normal().string();

Experiment experiment(const std::string& tasks, const std::string& policies,
                      const std::string& more = "", const std::string& model = tiny) {
  const test::TemporaryFolder folder;
  return load_experiment(folder.write("e.yaml", "model: " + model + "\ntasks: " + tasks +
                                                    "\npolicies: " + policies + "\n" + more),
                         {});
}

const RunInfo info = {.machine = {{"cpu", "a processor"}}};

struct Ran {
  CellResult result;
  std::vector<Answer> answers;
};

Ran run(const Cell& cell, const fs::path& folder) {
  Runner runner(Progress::Style::silent);
  const fs::path nll = folder / nll_name(cell);
  Ran ran{.result = runner.run(cell, nll, info), .answers = {}};
  ran.answers = read_answers(answers_path(nll));
  return ran;
}

}  // namespace

TEST_CASE("both engines give the same answers, task by task and policy by policy") {
  const std::string tasks =
      "[{copy: {tokens: 12, gap: [0, 60], samples: 1}}, {mqar: {samples: 1, length: 32, pairs: [2, "
      "6]}}, {streameval: {lines: [1, 2], every: 2, queries: 2}}, {needle: {length: 300, depth: "
      "20, "
      "samples: 1}}]";
  const std::string policies =
      "[dense, {window: {window: 48}}, {sinks: {sinks: 4, window: 44}}, {h2o: {capacity: 48, "
      "recent: "
      "8, every: 3}}, {snapkv: {capacity: 48, rows: 8, every: 5}}, {quest: {read: 24, page: 4, "
      "dense: "
      "0}}, {recompute: {window: 24}}]";
  const test::TemporaryFolder folder;
  std::map<std::string, Ran> chunked;
  // In float64: scores that are nearly equal may change places by rounding.
  const std::string both = "engine: [chunked, stepwise]\ndtype: float64";
  for (const Cell& cell : experiment(tasks, policies, both).cells) {
    const Ran ran = run(cell, folder.path());
    INFO(cell.id);
    REQUIRE_FALSE(ran.answers.empty());
    const std::string name =
        task_label(cell.dataset.task) + ran.result.policy_label + cell.policy.name;
    if (cell.engine == "chunked") {
      chunked[name] = ran;
      continue;
    }
    const Ran& other = chunked.at(name);
    REQUIRE(other.answers.size() == ran.answers.size());
    for (size_t i = 0; i < ran.answers.size(); ++i) {
      CHECK(ran.answers[i].top == other.answers[i].top);
      CHECK(ran.answers[i].held_all == other.answers[i].held_all);
      CHECK(ran.answers[i].held_some == other.answers[i].held_some);
      for (size_t t = 0; t < ran.answers[i].nll.size(); ++t) {
        CHECK(ran.answers[i].nll[t] == Approx(other.answers[i].nll[t]).margin(1e-8));
      }
    }
    CHECK(ran.result.dataset_sha256 == other.result.dataset_sha256);
  }
}

TEST_CASE("an answer is right where greedy decoding writes it") {
  const test::TemporaryFolder folder;
  const Decoder decoder = Decoder::load(tiny, {});
  int64_t right = 0, answers = 0;
  for (const Cell& cell :
       experiment("[{copy: {tokens: 10, gap: [0, 50], samples: 2}}, {passkey: {length: 300, depth: "
                  "[50, 100], samples: 1}}]",
                  "[dense, {sinks: {sinks: 4, window: 60}}, {h2o: {capacity: 60, recent: 8, every: "
                  "4}}]")
           .cells) {
    INFO(cell.id);
    const Ran ran = run(cell, folder.path());
    const auto policy = make_policy(cell.policy);
    Runner runner(Progress::Style::silent);
    const TokenStream& stream = runner.text(cell).stream;
    for (const Answer& answer : ran.answers) {
      const auto begin = stream.ids.begin() + stream.pieces[answer.sample];
      const std::vector<int32_t> prompt(begin, stream.ids.begin() + answer.question.begin);
      const Generated text = generate(decoder, *policy, prompt, std::ssize(answer.ids), {}, {},
                                      [](int32_t) { return true; });
      CHECK((text.ids == answer.ids) == answer.correct());
      right += answer.correct();
      ++answers;
    }
  }
  CHECK(answers == 3 * (4 * 9 + 2));
  CHECK(right > answers / 4);  // the bundled model copies
  CHECK(right < answers);
}

TEST_CASE("recall ends where a window does") {
  const test::TemporaryFolder folder;
  for (const Cell& cell : experiment("{copy: {tokens: 32, gap: [0, 64, 92, 128], samples: 4}}",
                                     "[dense, {sinks: {sinks: 4, window: 124}}]")
                              .cells) {
    const Ran ran = run(cell, folder.path());
    const bool dense = cell.policy.name == "dense";
    REQUIRE(ran.result.answers.size() == 5);
    for (const AnswerBin& bin : ran.result.answers) {
      if (bin.of.empty()) continue;
      // The token after the one that stood `most` ago is within the last 124, or is not.
      const bool within = bin.most <= 124;
      INFO(cell.id << " " << bin.most << " tokens ago: " << bin.accuracy);
      CHECK((bin.accuracy > 0.4) == (dense ? bin.most < 160 : within));
      if (!dense && !within) CHECK(bin.accuracy < 0.05);
      CHECK((*bin.held_all == 1) == (dense || within));
    }
  }
}

TEST_CASE("what caches held beside a model's own windows") {
  // gemma2 has windows in two of four layers and mistral in all: there the policy works on all.
  struct Case {
    const char *model, *policies;
    std::function<bool(int64_t layer, int64_t asked, int64_t place)> holds;
  };
  const std::vector<Case> cases = {
      {"gemma2", "[{window: {window: 8}}, {latest: {capacity: 8, sinks: 0, recent: 1}}]",
       [](int64_t, int64_t asked, int64_t place) { return place >= asked - 8; }},
      {"gemma2", "[{sinks: {sinks: 10, window: 6}}]",
       [](int64_t layer, int64_t asked, int64_t place) {
         const bool local = layer % 2 == 0;
         return place >= asked - 6 || (place < 10 && (!local || place > asked - 20));
       }},
      {"mistral_window", "[{sinks: {sinks: 10, window: 6}}]",
       [](int64_t, int64_t asked, int64_t place) { return place >= asked - 6 || place < 10; }},
  };
  for (const Case& c : cases) {
    const test::TemporaryFolder folder;
    const std::string model = test::data(std::string("families/") + c.model);
    for (const Cell& cell :
         experiment("{copy: {tokens: 6, gap: [0, 5, 12], samples: 2}}", c.policies, "", model)
             .cells) {
      INFO(c.model << " " << cell.id);
      const Ran ran = run(cell, folder.path());
      Runner runner(Progress::Style::silent);
      const DecoderConfig& config = runner.config(cell);
      REQUIRE((config.local_windows == (config.every_layer_is_local()
                                            ? config.local_windows
                                            : std::vector<int64_t>{20, 0, 20, 0})));
      bool some = false;
      const std::vector<int64_t> pieces = runner.text(cell).stream.pieces;
      for (const Answer& answer : ran.answers) {
        const TaskQuestion& question = answer.question;
        const int64_t begin = pieces.at(answer.sample);
        double any = 0, all = 0;
        for (int64_t layer = 0; layer < config.layers; ++layer) {
          int64_t held = 0;
          for (int64_t p = question.fact_begin; p < question.fact_end; ++p) {
            held += c.holds(layer, question.asked - begin, p - begin);
          }
          any += held > 0;
          all += held == question.fact_end - question.fact_begin;
        }
        CHECK(answer.held_some == Approx(any / static_cast<double>(config.layers)));
        CHECK(answer.held_all == Approx(all / static_cast<double>(config.layers)));
        some = some || any > 0;
      }
      CHECK(some);
    }
  }
}

TEST_CASE("what the caches held when a question came, against views and the decision log") {
  const test::TemporaryFolder folder;
  const std::string policies =
      "[{window: {window: 40}}, {h2o: {capacity: 40, recent: 8, every: 3}}, {knorm: {capacity: 40, "
      "sinks: 2, recent: 4}}]";
  for (const Cell& cell : experiment("{streameval: {lines: [1, 4], every: 4, queries: 4}}",
                                     policies, "decisions: true")
                              .cells) {
    INFO(cell.id);
    const Ran ran = run(cell, folder.path());
    const fs::path log = decision_path(folder.path() / nll_name(cell));
    Runner runner(Progress::Style::silent);
    const DecoderConfig& config = runner.config(cell);
    const auto caches = static_cast<double>(config.layers * config.kv_heads);
    double some = 0, all = 0;
    for (const Answer& answer : ran.answers) {
      const TaskQuestion& question = answer.question;
      double any_held = 0, all_held = 0;
      for (int64_t layer = 0; layer < config.layers; ++layer) {
        for (int64_t head = 0; head < config.kv_heads; ++head) {
          std::set<int64_t> held;
          for (int64_t p = question.fact_begin; p < question.fact_end; ++p) held.insert(p);
          if (cell.policy.name == "window") {
            std::erase_if(held, [&](int64_t p) { return p < question.asked - 40; });
          } else {
            for (const EvictionRecord& record : read_decision_file(log)) {
              if (record.layer != layer || record.head != head || record.t >= question.asked)
                continue;
              for (const int64_t place : record.places) held.erase(place);
            }
          }
          any_held += !held.empty();
          all_held += std::ssize(held) == question.fact_end - question.fact_begin;
        }
      }
      CHECK(answer.held_some == Approx(any_held / caches));
      CHECK(answer.held_all == Approx(all_held / caches));
      some += *answer.held_some;
      all += *answer.held_all;
    }
    CHECK(some > 0);
    CHECK(all < static_cast<double>(ran.answers.size()));
  }
}

TEST_CASE("a task that was interrupted ends with the same answers") {
  const test::Variable often("SINKBENCH_CHECKPOINT_SECONDS", "0");
  for (const Cell& cell :
       experiment("{copy: {tokens: 16, gap: [0, 40], samples: 3}}",
                  "[{sinks: {sinks: 4, window: 44}}, {h2o: {capacity: 40, recent: 8, every: 3}}]",
                  "chunk: 16")
           .cells) {
    const test::TemporaryFolder folder, whole;
    std::atomic<bool> stop = true;  // after each block
    Runner runner(Progress::Style::silent, &stop);
    const fs::path nll = folder.path() / nll_name(cell);
    int times = 0;
    for (bool done = false; !done; ++times) {
      REQUIRE(times < 200);
      try {
        runner.run(cell, nll, info);
        done = true;
      } catch (const Interrupted&) {
      }
    }
    CHECK(times > 5);
    const Ran expected = run(cell, whole.path());
    const std::vector<Answer> answers = read_answers(answers_path(nll));
    REQUIRE(answers.size() == expected.answers.size());
    for (size_t i = 0; i < answers.size(); ++i) {
      CHECK(answers[i].nll == expected.answers[i].nll);
      CHECK(answers[i].top == expected.answers[i].top);
      CHECK(answers[i].held_all == expected.answers[i].held_all);
    }
  }
}

TEST_CASE("a task needs a tokenizer, or none, and every answer scored") {
  const test::TemporaryFolder folder;
  // A shape with random weights, which has no tokenizer beside it.
  fs::copy_file(tiny + "/config.json", folder.path() / "config.json");
  const std::string bare =
      "{config: " + (folder.path() / "config.json").string() + ", weights: random}";
  Runner runner(Progress::Style::silent);
  const auto check = [&](const Experiment& of) { runner.check(of.cells.at(0)); };
  CHECK_NOTHROW(check(experiment("copy", "dense", "", bare)));
  CHECK_THROWS_WITH(check(experiment("streameval", "dense", "", bare)),
                    ContainsSubstring("task streameval: is made of text, and the model has no "
                                      "tokenizer"));
  CHECK_THROWS_WITH(check(experiment("copy", "{recompute: {window: 32, stride: 4}}")),
                    ContainsSubstring("a stride leaves tokens of a task's answers out"));
  CHECK_THROWS_WITH(check(experiment("{needle: {text: nowhere.txt, get: make it}}", "dense")),
                    ContainsSubstring("nowhere.txt: no such text; get it with: make it"));
}
