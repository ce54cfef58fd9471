#include "training/config.h"

#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/catch.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

TrainConfig load(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  const fs::path file =
      fs::temp_directory_path() / fmt::format("sinkbench-train-{}.yaml", ::getpid());
  write_file_atomically(file, yaml);
  struct Remove {
    const fs::path& file;
    ~Remove() { fs::remove(file); }
  } remove{file};
  return load_train_config(file, overrides);
}

std::string refusal(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  try {
    load(yaml, overrides);
  } catch (const InputError& error) {
    return error.what();
  }
  return "it was accepted";
}

const std::string kData = "data: {text: books}\n";

}  // namespace

TEST_CASE("a training's YAML is read, with paths relative to its folder") {
  const TrainConfig config = load(R"(name: small
data:
  text: [a.jsonl, ../b]
  exclude_titles: [The BIBLE]
tokenizer: {vocab: 512}
model: {layers: 2, hidden: 64, heads: 4}
training:
  learning_rate: 1e-3
  repeats: {probability: 0.5, min_tokens: 8, max_tokens: 16}
  products: float32
export: float32
)");
  CHECK(config.name == "small");
  const fs::path folder = fs::temp_directory_path();
  CHECK(config.corpus.text ==
        std::vector<fs::path>{folder / "a.jsonl", folder.parent_path() / "b"});
  CHECK(config.corpus.exclude_titles == std::vector<std::string>{"the bible"});
  CHECK(config.model.vocab == 512);
  CHECK(config.model.layers == 2);
  CHECK(config.schedule.learning_rate == 1e-3);
  CHECK(config.schedule.repeat_max_tokens == 16);
  CHECK(!config.schedule.bfloat16);
  CHECK(!config.export_bfloat16);
  CHECK(config.schedule.batch == ScheduleConfig().batch);
}

TEST_CASE("values can be given beside the YAML") {
  const TrainConfig config = load(kData, {"training.steps=7", "training.repeats.probability=0.25",
                                          "data.text=elsewhere/books.jsonl", "name=other"});
  CHECK(config.schedule.steps == 7);
  CHECK(config.schedule.repeat_probability == 0.25);
  CHECK(config.corpus.text == std::vector<fs::path>{"elsewhere/books.jsonl"});
  CHECK(config.name == "other");
  CHECK_THAT(refusal(kData, {"training.stepps=7"}),
             ContainsSubstring("--set training.stepps: unknown key 'training.stepps'; did you "
                               "mean 'steps'?"));
  CHECK_THAT(refusal(kData, {"training.steps=many"}),
             ContainsSubstring("--set training.steps: 'training.steps': expected a whole number"));
  CHECK_THAT(refusal(kData, {"steps"}), ContainsSubstring("expected key=value"));
}

TEST_CASE("a bad training YAML is refused by line, key and value") {
  CHECK_THAT(refusal(kData + "model:\n  layer: 3\n"),
             ContainsSubstring("line 3: unknown key 'model.layer'; did you mean 'layers'?"));
  CHECK_THAT(refusal(kData + "training:\n  repeats:\n    chance: 1\n"),
             ContainsSubstring("line 4: unknown key 'training.repeats.chance'; expected one of: "
                               "probability"));
  CHECK_THAT(refusal(kData + "training: {steps: 0}\n"),
             ContainsSubstring("line 2: 'training.steps': expected a whole number of at least 1, "
                               "found '0'"));
  CHECK_THAT(refusal(kData + "training: {steps: 1.5}\n"), ContainsSubstring("found '1.5'"));
  CHECK_THAT(refusal(kData + "training: {learning_rate: .nan}\n"),
             ContainsSubstring("'training.learning_rate': expected a number from 0 to 1"));
  CHECK_THAT(refusal(kData + "training: {steps: [1, 2]}\n"), ContainsSubstring("found 'a list'"));
  CHECK_THAT(refusal(kData + "model: 4\n"), ContainsSubstring("'model': expected a mapping"));
  CHECK_THAT(refusal(kData + "export: float8\n"),
             ContainsSubstring("expected bfloat16 or float32, found 'float8'"));
  CHECK_THAT(refusal(kData + "model: {hidden: 100, heads: 6}\n"),
             ContainsSubstring("'model.hidden': expected a multiple of twice the 6 heads"));
  CHECK_THAT(refusal(kData + "training: {sample_tokens: 64, repeats: {probability: 1}}\n"),
             ContainsSubstring("'training.repeats.max_tokens': expected at least min_tokens"));
  CHECK_THAT(refusal("data: {held_out: 0.1}\n"),
             ContainsSubstring("'data.text': expected the path of a text"));
  CHECK_THAT(refusal(kData + "model: [\n"), ContainsSubstring(":3: not valid YAML: "));
  CHECK_THAT(refusal("just words\n"), ContainsSubstring("expected a mapping"));
}
