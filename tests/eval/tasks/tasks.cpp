#include "eval/tasks/task.h"

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "base/error.h"
#include "datasets/stream.h"
#include "eval/tasks/rendering.h"
#include "tests/catch.h"
#include "tests/data.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

using List = std::vector<int64_t>;

const Tokenizer& tokenizer() {
  static const Tokenizer tiny = Tokenizer::load(test::data("../../models/tiny"));
  return tiny;
}

std::vector<int32_t> ordinary_ids() {
  std::vector<int32_t> ids;
  const auto special = tokenizer().special_tokens();
  for (int32_t id = 0; id < tokenizer().vocab_size(); ++id) {
    if (!special.contains(id)) ids.push_back(id);
  }
  return ids;
}

TaskStream make(const std::string& name, TaskArguments arguments = {},
                std::vector<fs::path> texts = {}, bool with_tokenizer = true) {
  static const std::vector<int32_t> ordinary = ordinary_ids();
  const std::vector<int32_t> prefix = {ordinary[5]};  // told apart from what a task makes by place
  TaskSpec spec{.name = name, .arguments = with_defaults(*task_named(name), std::move(arguments))};
  return make_task(spec, {.arguments = spec.arguments,
                          .ordinary = ordinary,
                          .prefix = prefix,
                          .tokenizer = with_tokenizer ? &tokenizer() : nullptr,
                          .texts = texts});
}

std::string text_of(const TaskStream& stream, int64_t begin, int64_t end) {
  return tokenizer().decode(std::span(stream.ids).subspan(begin, end - begin));
}

/// A sample without what stands before it.
std::string sample_text(const TaskStream& stream, size_t sample) {
  const int64_t end = sample + 1 < stream.pieces.size() ? stream.pieces[sample + 1]
                                                        : static_cast<int64_t>(stream.ids.size());
  return text_of(stream, stream.pieces[sample] + 1, end);
}

size_t sample_of(const TaskStream& stream, const TaskQuestion& question) {
  size_t sample = 0;
  while (sample + 1 < stream.pieces.size() && stream.pieces[sample + 1] <= question.begin) ++sample;
  return sample;
}

/// A text of sentences that tells them apart.
fs::path sentences(const test::TemporaryFolder& folder) {
  std::string text;
  for (int i = 0; i < 400; ++i) {
    text += "And the lord number " + std::to_string(i) + " said unto them,\n  go ye to the city. ";
  }
  return folder.write("filler.txt", text);
}

}  // namespace

TEST_CASE("draws are those of the 64-bit Mersenne twister that a hash seeds") {
  // By an implementation in Python of the twister (whose 10,000th number is the standard's) and of
  // Lemire's bounded draw.
  Draw copy(0, "copy", 0);
  for (const int64_t expected : {1, 3, 6, 4, 5, 7, 2, 1}) CHECK(copy.below(10) == expected);
  Draw needle(7, "needle", 3);
  for (const int64_t expected : {551857238, 419299457, 346155130}) {
    CHECK(needle.below(1'000'000'007) == expected);
  }
  std::vector<int64_t> order = {0, 1, 2, 3, 4};
  needle.shuffle(order);
  CHECK(std::set(order.begin(), order.end()).size() == 5);
  CHECK(Draw(0, "copy", 1).below(1) == 0);
}

TEST_CASE("each task's stream is the same from run to run and machine to machine") {
  const test::TemporaryFolder folder;
  const fs::path filler = sentences(folder);
  const auto hash = [](const TaskStream& stream) { return ids_sha256(stream.ids).substr(0, 16); };
  CHECK(hash(make("copy", {{"gap", List{0, 20}}, {"samples", 2}})) == "f354764e9c06bda0");
  CHECK(hash(make("mqar", {{"samples", 3}})) == "e9753b39e677d17a");
  CHECK(hash(make("streameval", {{"lines", List{2, 5}}, {"every", 3}, {"queries", 6}})) ==
        "105f01948da9723e");
  CHECK(hash(make("needle", {{"length", List{600}}, {"samples", 1}}, {filler})) ==
        "3a0564d850fc0008");
  CHECK(hash(make("passkey", {{"length", List{400}}, {"samples", 1}})) == "cb467450fe6e08c7");
  CHECK(hash(make("vt", {{"length", List{900}}, {"samples", 2}})) == "907ecc4e4ee0faa7");
  // Another seed is another stream, and samples don't hang on how many there are.
  const TaskStream few = make("copy", {{"samples", 2}}), more = make("copy", {{"samples", 3}});
  CHECK(std::equal(few.ids.begin(), few.ids.end(), more.ids.begin()));
  CHECK(hash(make("copy", {{"samples", 2}, {"seed", 1}})) != hash(few));
}

TEST_CASE("an answer's tokens stood so far back, and nothing between tells them") {
  const test::TemporaryFolder folder;
  const std::vector<fs::path> filler = {sentences(folder)};
  const TaskStream streams[] = {
      make("copy", {{"tokens", 9}, {"gap", List{0, 20}}, {"samples", 3}}, {}, false),
      make("mqar", {{"pairs", List{3, 8}}, {"samples", 3}}, {}, false),
      make("streameval", {{"lines", List{1, 4}}, {"every", 2}, {"queries", 9}, {"samples", 2}}),
      make("streameval", {{"lines", List{2, 4, 6, 8}}, {"every", 2}, {"queries", 60}}),
      make("needle", {{"length", List{500, 700}}, {"keys", 3}, {"samples", 2}}, filler),
      make("needle", {{"length", List{700}}, {"values", 3}, {"samples", 2}}),
      make("passkey", {{"length", List{400}}, {"samples", 2}}, filler),
      make("vt", {{"length", List{900}}, {"hops", 2}, {"samples", 3}})};
  for (const TaskStream& stream : streams) {
    REQUIRE_FALSE(stream.questions.empty());
    for (const int64_t piece : stream.pieces) CHECK(stream.ids[piece] == stream.ids[0]);
    for (const TaskQuestion& question : stream.questions) {
      const int64_t piece = stream.pieces[sample_of(stream, question)];
      const int64_t fact = question.begin - question.distance;
      INFO(text_of(stream, question.begin, question.end));
      CHECK(question.begin < question.end);
      CHECK(question.asked <= question.begin);
      CHECK(piece < question.fact_begin);
      CHECK(question.fact_begin <= fact);
      CHECK(fact + question.end - question.begin <= question.fact_end);
      CHECK(question.fact_end <= question.asked + (question.asked == question.begin ? 1 : 0));
      for (int64_t i = 0; i < question.end - question.begin; ++i) {
        CHECK(stream.ids[question.begin + i] == stream.ids[fact + i]);
      }
      // What is of several tokens can't come up by chance. A chain's variables stand again where the
      // next one is assigned.
      if (question.end - question.begin < 4 || question.of.contains("hop")) continue;
      const auto at = [&](int64_t place) { return stream.ids.begin() + place; };
      const auto between = at(question.fact_end);
      CHECK(std::search(between, at(question.begin), at(question.begin), at(question.end)) ==
            at(question.begin));
    }
  }
}

TEST_CASE("streameval asks each line once at the most, and each distance as often") {
  for (const List& lines : {List{20, 40, 60, 80}, List{10, 20, 30}, List{7, 10, 33}}) {
    const TaskStream stream =
        make("streameval", {{"lines", lines}, {"every", 10}, {"queries", 120}});
    std::set<int64_t> facts;
    std::map<int64_t, int64_t> asked;
    for (const TaskQuestion& question : stream.questions) {
      CHECK(facts.insert(question.fact_begin).second);
      ++asked[question.of.at("lines")];
    }
    for (const int64_t back : lines) CHECK(asked[back] == 120 / std::ssize(lines));
  }
}

TEST_CASE("what streameval asks is in its text, so many lines before") {
  const TaskStream stream =
      make("streameval", {{"lines", List{2, 5}}, {"every", 3}, {"queries", 8}, {"samples", 2}});
  REQUIRE(stream.pieces.size() == 2);
  REQUIRE(stream.questions.size() == 16);
  std::map<int64_t, int> asked;
  for (const TaskQuestion& question : stream.questions) ++asked[question.of.at("lines")];
  CHECK(asked == std::map<int64_t, int>{{2, 8}, {5, 8}});  // each as often
  size_t next = 0;
  for (size_t sample = 0; sample < 2; ++sample) {
    std::istringstream lines(sample_text(stream, sample));
    std::string line;
    std::getline(lines, line);
    CHECK(line == "Below is a record of lines I want you to remember.");
    std::vector<std::string> values;
    while (std::getline(lines, line)) {
      std::smatch match;
      const bool query = line.starts_with("Query: ");
      REQUIRE(std::regex_match(line, match,
                               std::regex("(Query: )?The REGISTER_CONTENT in line (\\d+) is "
                                          "<(\\d+)>")));
      const auto number = static_cast<size_t>(std::stoll(match[2]));
      if (!query) {
        CHECK(number == values.size());
        values.push_back(match[3]);
        continue;
      }
      const TaskQuestion& question = stream.questions[next++];
      CHECK(values.size() % 3 == 0);
      CHECK(values.size() - number == static_cast<size_t>(question.of.at("lines")));
      CHECK(match[3] == values[number]);
      CHECK(text_of(stream, question.begin, question.end) == " <" + values[number] + ">\n");
      CHECK(text_of(stream, question.asked, question.begin) ==
            "Query: The REGISTER_CONTENT in line " + std::to_string(number) + " is");
    }
  }
  CHECK(next == 16);
}

TEST_CASE("needles stand at their depth in a sample of its length") {
  const test::TemporaryFolder folder;
  const TaskStream stream =
      make("needle",
           {{"length", List{800, 1200}}, {"depth", List{0, 40, 100}}, {"keys", 2}, {"samples", 20}},
           {sentences(folder)});
  REQUIRE(stream.pieces.size() == 120);
  std::set<int64_t> phases;
  for (const TaskQuestion& question : stream.questions) {
    const size_t sample = sample_of(stream, question);
    const int64_t begin = stream.pieces[sample];
    const int64_t length = question.end - begin, wanted = question.of.at("length");
    CHECK(length <= wanted);
    CHECK(length > wanted - 64 - 70);  // a phase, and no room for one more sentence
    phases.insert(question.asked % 16);
    const std::string text = sample_text(stream, sample);
    const size_t fact = text.find(text_of(stream, question.fact_begin, question.fact_end));
    const size_t head = text.find('\n'), end = text.rfind('\n');
    const double depth = static_cast<double>(fact - head) / static_cast<double>(end - head);
    CHECK(depth == Approx(0.01 * static_cast<double>(question.of.at("depth"))).margin(0.09));
    // The fact says the key that is asked, and the answer.
    std::smatch match;
    const std::string needle = text_of(stream, question.fact_begin, question.fact_end);
    REQUIRE(std::regex_search(needle, match,
                              std::regex("One of the special magic numbers for ([a-z-]+) is: "
                                         "(\\d{7})\\.")));
    CHECK(text_of(stream, question.begin, question.end) == " " + match[2].str());
    CHECK_THAT(text.substr(end), ContainsSubstring("number for " + match[1].str() + " mentioned"));
    int needles = 0;
    for (size_t at = 0; (at = text.find("One of the special", at)) != text.npos; ++at) ++needles;
    CHECK(needles == 2);
  }
  CHECK(phases.size() == 16);  // of a round that comes after every 16th token
}

TEST_CASE("a chain of variables can be followed in the text") {
  const TaskStream stream = make("vt", {{"length", List{900}}, {"hops", 3}, {"samples", 4}});
  for (size_t sample = 0; sample < 4; ++sample) {
    const std::string text = sample_text(stream, sample);
    // The example is asked in the same words: the last question counts.
    const size_t asked = text.rfind("assigned the value ");
    std::string value = text.substr(asked + 19, 5);
    std::string names = text.substr(text.find(':', asked) + 1), expected;
    for (std::string wanted = value;;) {
      std::smatch match;
      if (!std::regex_search(text, match, std::regex("VAR ([A-Z]{5}) = " + wanted + "\\."))) break;
      expected += " " + match[1].str();
      wanted = "VAR " + match[1].str();
    }
    CHECK(names == expected);
    CHECK(std::count(names.begin(), names.end(), ' ') == 4);
  }
}

TEST_CASE("questions of ARC are read from both forms of its files") {
  const test::TemporaryFolder folder;
  const fs::path hub = folder.write(
      "hub.jsonl",
      R"({"question": "Which is a metal?", "choices": {"text": ["wood", "iron", "air"], "label": ["A", "B", "C"]}, "answerKey": "B"})"
      "\n");
  const fs::path ai2 = folder.write(
      "ai2.jsonl",
      R"({"id": "x", "question": {"stem": "What is wet?", "choices": [{"text": "fire", "label": "1"}, {"text": "water", "label": "2"}]}, "answerKey": "2"})"
      "\n");
  const TaskStream letters = make("arc_stream", {}, {hub, ai2});
  CHECK(letters.pieces.size() == 1);
  CHECK(sample_text(letters, 0) ==
        "Question: Which is a metal?\nA. wood\nB. iron\nC. air\nAnswer: B\n"
        "Question: What is wet?\n1. fire\n2. water\nAnswer: 2\n");
  REQUIRE(letters.questions.size() == 2);
  REQUIRE(letters.questions[0].choices.size() == 3);
  CHECK(tokenizer().decode(letters.questions[0].choices) == " A B C");
  CHECK(letters.questions[1].fact_begin == letters.questions[1].fact_end);
  const TaskStream texts = make("arc_stream", {{"answer", "text"}, {"questions", 1}}, {hub, ai2});
  REQUIRE(texts.questions.size() == 1);
  CHECK(sample_text(texts, 0) == "Question: Which is a metal?\nAnswer: iron\n");
  CHECK(text_of(texts, texts.questions[0].begin, texts.questions[0].end) == " iron\n");

  const auto refused = [&](const std::string& line) {
    const fs::path file = folder.write("bad.jsonl", line);
    try {
      make("arc_stream", {}, {file});
    } catch (const InputError& error) {
      const std::string message = error.what();
      return message.substr(message.find("bad.jsonl"));
    }
    return std::string("it was accepted");
  };
  CHECK_THAT(
      refused("{\"question\": 3}\n"),
      ContainsSubstring("bad.jsonl:1: ") && ContainsSubstring("expected an object of question"));
  CHECK_THAT(refused("\n{\"question\": \"q\", \"choices\": {\"text\": [\"a\"], \"label\": "
                     "[\"A\"]}, \"answerKey\": \"D\"}\n"),
             ContainsSubstring("bad.jsonl:2: answerKey is 'D', which is the label of no choice"));
  CHECK_THAT(refused("{\"question\": \"q\", \"choices\": {\"text\": [\"a\", \"b\"], \"label\": "
                     "[\"A\", \"A\"]}, \"answerKey\": \"A\"}\n"),
             ContainsSubstring("bad.jsonl:1: two choices have the label 'A'"));
  CHECK_THAT(refused(""), ContainsSubstring("there is no question in it"));
}

TEST_CASE("what a task can't be made of is said in a line") {
  CHECK_THROWS_WITH(
      make("streameval", {}, {}, false),
      ContainsSubstring("task streameval: is made of text, and the model has no tokenizer"));
  CHECK_THROWS_WITH(make("needle", {{"length", List{70}}}),
                    ContainsSubstring("task needle: length 70 is too short; a sample without "
                                      "filler takes "));
  CHECK_THROWS_WITH(make("mqar", {{"pairs", List{20}}}),
                    ContainsSubstring("20 pairs and their questions are 80 tokens; length is 64"));
  CHECK_THROWS_WITH(
      make("copy", {{"tokens", 999'999}, {"gap", List{1'000'000}}, {"samples", 1000}}),
      ContainsSubstring("task copy: makes about 3000 million tokens; expected no more "
                        "than 100 million"));
  const test::TemporaryFolder folder;
  CHECK_THROWS_WITH(make("passkey", {}, {folder.write("empty.txt", "   \n")}),
                    ContainsSubstring("there is no sentence in it"));
  // Words of which a tokenizer makes one token can't be parted.
  const std::vector<int32_t> whole = tokenizer().encode(" the", false);
  REQUIRE(whole.size() == 1);
  Rendering rendering(tokenizer());
  rendering.add("In");
  rendering.add(" t");
  CHECK_THROWS_WITH(rendering.add("he city"),
                    ContainsSubstring("the tokenizer can't render it: a token is shared by ' t' "
                                      "and 'he city', which follows it"));
  Rendering right(tokenizer());
  right.add("In the");
  CHECK(right.size() == static_cast<int64_t>(tokenizer().encode("In the", false).size()));
  right.add(" city\nof");
  CHECK(right.finish() == tokenizer().encode("In the city\nof", false));
}

TEST_CASE("the tokenizers of published models can render every task") {
  const auto folder = test::shared_data("goldens/tokenizers");
  if (!folder) {
    WARN("SINKBENCH_DATA has no tokenizers; not tested");
    return;
  }
  int tokenizers = 0;
  for (const auto& entry : fs::directory_iterator(*folder)) {
    if (!Tokenizer::is_in(entry.path())) continue;
    INFO(entry.path());
    const Tokenizer tokenizer = Tokenizer::load(entry.path());
    ++tokenizers;
    for (const auto& [name, given] : std::vector<std::pair<std::string, TaskArguments>>{
             {"streameval", {{"lines", List{1, 3}}, {"every", 2}, {"queries", 6}}},
             {"needle", {{"length", List{500}}, {"values", 2}, {"samples", 1}}},
             {"passkey", {{"length", List{400}}, {"samples", 1}}},
             {"vt", {{"length", List{900}}, {"samples", 1}}}}) {
      INFO(name);
      const TaskSpec spec{name, with_defaults(*task_named(name), given)};
      const TaskStream stream =
          make_task(spec, {spec.arguments, {}, tokenizer.prefix(), &tokenizer, {}});
      CHECK_FALSE(stream.questions.empty());
      for (const TaskQuestion& question : stream.questions) {
        for (int64_t i = question.begin; i < question.end; ++i) {
          CHECK(stream.ids[i] == stream.ids[i - question.distance]);
        }
      }
    }
  }
  CHECK(tokenizers >= 8);
}

TEST_CASE("a task's label has what isn't the default") {
  const TaskEntry& entry = *task_named("copy");
  CHECK(task_label({"copy", with_defaults(entry, {})}) == "copy");
  CHECK(task_label({"copy", with_defaults(entry, {{"gap", List{0, 64}}, {"seed", 3}})}) ==
        "copy gap 0+64 seed 3");
  CHECK(task_named("copie") == nullptr);
}
