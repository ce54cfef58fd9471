#include "eval/tasks/answers.h"

#include "base/error.h"
#include "base/file.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

namespace {

Answer answer(int64_t group, int64_t lines, std::vector<double> nll, std::vector<bool> top) {
  const auto tokens = static_cast<int64_t>(nll.size());
  return {.question = {.group = group,
                       .asked = 90,
                       .begin = 100,
                       .end = 100 + tokens,
                       .fact_begin = 50,
                       .fact_end = 60,
                       .distance = 10 * lines,
                       .of = {{"lines", lines}}},
          .sample = 1,
          .ids = std::vector<int32_t>(nll.size(), 7),
          .nll = std::move(nll),
          .top = std::move(top)};
}

}  // namespace

TEST_CASE("an answer is right where all of its tokens are") {
  CHECK(answer(0, 1, {0.5, 0.25}, {true, true}).correct());
  CHECK_FALSE(answer(0, 1, {0.5, 0.25}, {true, false}).correct());
  CHECK(answer(0, 1, {0.5, 0.25}, {true, false}).log_probability() == -0.75);
}

TEST_CASE("means over groups, by hand") {
  // 1 1 0 | 0 0: mean 0.4; the groups' deviations 0.8 and -0.8; 2 * (0.64 + 0.64) = 2.56, its root
  // over 5.
  const std::vector<double> values = {1, 1, 0, 0, 0};
  const std::vector<int64_t> two = {3, 3, 3, 9, 9}, each = {0, 1, 2, 3, 4};
  CHECK(grouped_mean(values, two).mean == Approx(0.4));
  CHECK(grouped_mean(values, two).error == Approx(1.6 / 5));
  // Each by itself: the usual standard error, sqrt(0.24 / 4).
  CHECK(grouped_mean(values, each).error == Approx(std::sqrt(0.06)));
  CHECK(grouped_mean(std::vector<double>{1}, std::vector<int64_t>{0}).error == 0);
}

TEST_CASE("Wilson's interval, of as many draws as there were") {
  const auto check = [](GroupedMean share, int64_t values, int64_t groups, double low,
                        double high) {
    const auto [l, h] = wilson_interval(share, values, groups);
    CHECK(l == Approx(low).margin(1e-6));
    CHECK(h == Approx(high).margin(1e-6));
  };
  check({0.7, std::sqrt(0.021)}, 10, 10, 0.3967781, 0.8922087);  // 7 of 10
  check({0, 0}, 100, 8, 0, 0.3244076);                           // of 8 groups none
  check({0.5, std::sqrt(0.25 / 40)}, 1000, 10, 0.3519953, 0.6480047);
  check({0.5, 1}, 1000, 40, 0.3519953, 0.6480047);    // no fewer than the groups
  check({0.5, 0.001}, 40, 10, 0.3519953, 0.6480047);  // no more than the values
}

TEST_CASE("answers are summed up, all and by what was varied") {
  const std::vector<Answer> answers = {answer(0, 20, {1}, {true}), answer(1, 5, {2}, {false}),
                                       answer(2, 20, {3}, {false}), answer(3, 5, {6}, {false})};
  const std::vector<AnswerBin> bins = bins_of(answers);
  REQUIRE(bins.size() == 3);
  CHECK(bins[0].of.empty());
  CHECK(bins[0].answers == 4);
  CHECK(bins[0].accuracy == 0.25);
  CHECK(bins[0].log_probability == -3);
  CHECK(bins[0].least == 50);
  CHECK(bins[0].most == 200);
  CHECK(bins[1].of.at("lines") == 5);
  CHECK(bins[1].log_probability == -4);
  CHECK(bins[1].error == Approx(2));
  CHECK(bins[2].of.at("lines") == 20);
  CHECK(bins[2].accuracy == 0.5);
  CHECK_FALSE(bins[0].held_all);
  CHECK(bins_of(std::vector{answers[0], answers[2]}).size() == 1);  // of one kind
  CHECK(bins_of({}).empty());
}

TEST_CASE("answers are the same after writing and reading") {
  const test::TemporaryFolder folder;
  const std::filesystem::path path = answers_path(folder.path() / "cell.f32");
  CHECK(path.filename() == "cell.answers.jsonl");
  std::vector<Answer> answers = {answer(0, 20, {1.0 / 3, 2}, {true, false}),
                                 answer(4, 5, {6}, {true})};
  answers[0].held_some = 0.75;
  answers[0].held_all = 0.5;
  answers[1].chosen = true;
  answers[1].question.choices = {7, 9};
  write_answers(path, answers);
  const std::vector<Answer> read = read_answers(path);
  REQUIRE(read.size() == 2);
  CHECK(read[0].nll == answers[0].nll);
  CHECK(read[0].top == answers[0].top);
  CHECK(read[0].held_some == 0.75);
  CHECK(read[0].held_all == 0.5);
  CHECK_FALSE(read[0].chosen);
  CHECK(read[1].chosen == true);
  CHECK(read[1].question.choices == std::vector<int32_t>{7, 9});
  CHECK(read[1].question.of == answers[1].question.of);
  CHECK(read[1].question.fact_end == 60);
  CHECK(read[1].sample == 1);

  const std::string text = read_file(path);
  const auto refused = [&](const std::string& content) {
    folder.write("bad.jsonl", content);
    CHECK_THROWS_WITH(read_answers(folder.path() / "bad.jsonl"),
                      ContainsSubstring("bad.jsonl:") && ContainsSubstring("no answer of a task"));
  };
  refused(text.substr(0, text.size() - 10));
  refused("{}\n");
  std::string fewer = text;
  fewer.replace(fewer.find("\"end\":102"), 9, "\"end\":103");
  refused(fewer);
}
