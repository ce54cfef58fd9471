#include "reports/answers.h"

#include "base/error.h"
#include "base/file.h"
#include "reports/compare.h"
#include "reports/html.h"
#include "reports/tables.h"
#include "tests/catch.h"
#include "tests/eval/experiment/example.h"
#include "tests/files.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// Answers to 40 questions, each a group, half of them 5 lines back and half 20; right where
/// `right` says so.
std::vector<Answer> answers_of(const std::function<bool(int64_t, int64_t)>& right, double nll = 2.0,
                               int64_t questions = 40) {
  std::vector<Answer> answers;
  for (int64_t q = 0; q < questions; ++q) {
    const int64_t lines = q % 2 == 0 ? 5 : 20;
    answers.push_back({.question = {.group = q,
                                    .asked = 100 * q + 90,
                                    .begin = 100 * q + 95,
                                    .end = 100 * q + 96,
                                    .fact_begin = 100 * q,
                                    .fact_end = 100 * q + 9,
                                    .distance = 25 * lines,
                                    .of = {{"lines", lines}}},
                       .ids = {7},
                       .nll = {nll + 0.01 * static_cast<double>(q % 3)},
                       .top = {right(q, lines)},
                       .held_some = 1,
                       .held_all = lines == 5 ? 1 : 0.25});
  }
  return answers;
}

CellResult task_cell(const std::string& policy, PolicyArguments arguments,
                     const std::vector<Answer>& answers) {
  CellResult cell = test::example_cell("tiny-streameval-" + policy, {policy, std::move(arguments)},
                                       make_policy(policy, arguments)->label());
  cell.cell.dataset = {
      .task = {"streameval",
               with_defaults(*task_named("streameval"), {{"lines", std::vector<int64_t>{5, 20}}})}};
  cell.text = {};
  cell.perplexity.emplace();
  cell.perplexity->scored = 4000;
  cell.nll_file = "nll/" + cell.cell.id + ".f32";
  cell.answers = bins_of(answers);
  cell.answers_file = "nll/" + cell.cell.id + ".answers.jsonl";
  return cell;
}

const auto always = [](int64_t, int64_t) { return true; };
const auto near = [](int64_t, int64_t lines) { return lines == 5; };

struct Example {
  test::TemporaryFolder folder;
  Results results;
  Example() {
    results.info = test::example_results().info;
    const std::vector<Answer> dense = answers_of(always, 1), sinks = answers_of(near, 2);
    results.cells = {task_cell("dense", {}, dense),
                     task_cell("sinks", {{"sinks", 4}, {"window", 252}}, sinks)};
    fs::create_directories(folder.path() / "nll");
    write_answers(folder.path() / results.cells[0].answers_file, dense);
    write_answers(folder.path() / results.cells[1].answers_file, sinks);
    write_results(results, folder.path());
  }
  TaskGroup group() const { return {&results.cells[0], &results.cells[1]}; }
};

/// A run of one cell with these answers.
MeasuredRun run_of(const std::vector<Answer>& answers) {
  Results results;
  results.info = test::example_results().info;
  results.cells = {task_cell("dense", {}, answers)};
  return {.name = "run",
          .results = results,
          .nll =
              [](const CellResult&) {
                NllSeries series;
                series.block_means.assign(32, 1.0);
                return series;
              },
          .answers = [answers](const CellResult&) { return answers; }};
}

const QuantityComparison& find(const Comparison& comparison, Quantity quantity) {
  for (const QuantityComparison& q : comparison.cells.at(0).quantities) {
    if (q.quantity == quantity) return q;
  }
  throw std::out_of_range(to_string(quantity));
}

}  // namespace

TEST_CASE("what was recalled, policies beside each other") {
  const Example example;
  CHECK(format_answers(example.group(), false, 0) ==
        "  lines  tokens ago  answers                  dense            sinks 4+252\n"
        "  -----  ----------  -------  ---------------------  ---------------------\n"
        "      5         125       20  100 % (84-100)  -1.01  100 % (84-100)  -2.01\n"
        "     20         500       20  100 % (84-100)  -1.01      0 % (0-16)  -2.01\n"
        "    all     125-500       40  100 % (91-100)  -1.01    50 % (35-65)  -2.01\n");
  CHECK_THAT(format_held(example.group(), false, 0),
             ContainsSubstring("20         500       20   100 % / 25 %   100 % / 25 %\n"));
  CHECK(paired_lines(example.group(), example.folder.path()) ==
        std::vector<std::string>{"sinks 4+252 against dense: 20 answers worse, 0 better of 40, p "
                                 "below 0.0001; log-probability -1.000 ±0.000"});
  const TaskGroup group = example.group();
  const std::string csv = answers_csv(std::span(&group, 1));
  CHECK_THAT(csv,
             ContainsSubstring(
                 "tiny-streameval-sinks,streameval,sinks,4+252,256,lines 20,500,500,20,20,0,"));
  CHECK(task_groups(std::vector{&example.results.cells[0], &example.results.cells[1]}).size() == 1);
}

TEST_CASE("tasks in reports: recall, and no perplexity of what is drawn at random") {
  const Example example;
  const std::string text = format_report(example.results, ReportFormat::table);
  CHECK_THAT(text, ContainsSubstring("dataset streameval lines 5+20"));
  CHECK_THAT(text, ContainsSubstring("  dense     all       40  100.00 %  91-100 %"));
  CHECK_THAT(text, !ContainsSubstring("\nPerplexity\n"));
  const std::string csv = format_table(example.results, Table::recall, ReportFormat::csv);
  CHECK(std::count(csv.begin(), csv.end(), '\n') ==
        7);  // a head, and all and two parts of two cells
  CHECK_THAT(csv, ContainsSubstring("lines=20,500,500,20,20,0,"));
  HtmlSection section;
  section.results = example.results;
  section.folder = example.folder.path();
  const std::string page = html_page("t", std::span(&section, 1));
  CHECK_THAT(page, ContainsSubstring("Answers recalled: tiny, streameval lines 5+20"));
  CHECK_THAT(page, !ContainsSubstring("NLL over position"));
}

TEST_CASE("pictures of what was recalled, by distance and along the stream") {
  Example example;
  std::vector<Answer> many = answers_of(near, 2, 400);
  const std::vector<Picture> pictures =
      answer_pictures(example.group(), "title", "-x", example.folder.path());
  REQUIRE(pictures.size() == 2);  // 40 answers are too few for ten parts
  CHECK(pictures[0].name == "answers-by-distance-x");
  REQUIRE(pictures[0].series.size() == 2);
  REQUIRE(pictures[0].series[1].points.size() == 2);
  CHECK(pictures[0].series[1].points[0].x == 125);
  CHECK(pictures[0].series[1].points[0].y == 100);
  CHECK(pictures[0].series[1].points[1].y == 0);
  CHECK(pictures[1].series[1].points[1].y == Approx(-2.01).margin(0.002));
  write_answers(example.folder.path() / example.results.cells[0].answers_file, many);
  // Of another run than the results.
  CHECK_THROWS_WITH(answer_pictures(example.group(), "title", "", example.folder.path()),
                    ContainsSubstring("answers: 400; expected 40, as results.json has it"));
  example.results.cells[0].answers = bins_of(many);
  const std::vector<Picture> more =
      answer_pictures(example.group(), "title", "", example.folder.path());
  REQUIRE(more.size() == 4);
  CHECK(more[2].name == "answers-over-stream");
  REQUIRE(more[2].series.at(0).points.size() == 10);
  CHECK(more[2].series[0].points[3].y == 50);
}

TEST_CASE("a map by length and depth has each share once, a panel for each policy") {
  Example example;
  CHECK_FALSE(answer_map(example.group(), "title", ""));  // by lines
  for (CellResult& cell : example.results.cells) {
    const AnswerBin all = cell.answers.front();
    cell.answers = {all};
    for (const int64_t length : {512, 1024}) {
      for (const int64_t depth : {10, 90}) {
        AnswerBin bin = all;
        bin.of = {{"length", length}, {"depth", depth}};
        bin.accuracy = static_cast<double>(length + depth) / 2048;
        cell.answers.push_back(bin);
      }
    }
  }
  const auto map = answer_map(example.group(), "title", "-x");
  REQUIRE(map);
  CHECK(map->name == "answers-map-x");
  CHECK(std::count(map->csv.begin(), map->csv.end(), '\n') == 1 + 8);
  CHECK_THAT(map->csv, ContainsSubstring("sinks 4+252,1024,90,1,1,54.39\n"));
  CHECK_THAT(map->script, ContainsSubstring("skip 1 every ::4::7"));
  const std::vector<GnuplotPicture> maps = {*map};
  draw_with_gnuplot(maps, example.folder.path() / "plots");
  CHECK(fs::file_size(example.folder.path() / "plots/answers-map-x.svg") > 1000);
}

TEST_CASE("McNemar's test, by its table") {
  // 2 lost and 10 won: twice the sum of the binomial's tail, 158 / 4096.
  const auto a = answers_of([](int64_t q, int64_t) { return q < 2 || q >= 30; });
  const auto b = answers_of([](int64_t q, int64_t) { return q >= 20; });
  const PairedAnswers paired = paired_answers(a, b);
  CHECK(paired.groups == 40);
  CHECK(paired.lost == 2);
  CHECK(paired.won == 10);
  CHECK(paired.p == Approx(0.03857421875));
  CHECK(paired.accuracy.mean == Approx(0.2));
  CHECK(paired_answers(a, a).p == 1);
  CHECK(paired_answers(a, a).equal);
  CHECK_THROWS_WITH(paired_answers(a, answers_of(always, 2, 39)),
                    ContainsSubstring("they were not asked the same questions"));
  // Answers of one group count once: 20 more right ones in one sample are one sample better.
  auto few = a, better = b;
  for (auto* answers : {&few, &better}) {
    for (Answer& answer : *answers) answer.question.group /= 20;
  }
  const PairedAnswers grouped = paired_answers(few, better);
  CHECK(grouped.groups == 2);
  CHECK(grouped.lost == 1);
  CHECK(grouped.won == 1);
}

TEST_CASE("a task gates: worse where the test says so, and not by too few answers") {
  const auto verdict = [](const std::vector<Answer>& before, const std::vector<Answer>& after,
                          Quantity quantity, const Thresholds& thresholds = {}) {
    return find(compare(run_of(before), run_of(after), thresholds), quantity).verdict;
  };
  const auto all = answers_of(always), half = answers_of(near);
  CHECK(verdict(all, all, Quantity::accuracy) == Verdict::same);
  CHECK(verdict(all, half, Quantity::accuracy) == Verdict::worse);
  CHECK(verdict(half, all, Quantity::accuracy) == Verdict::better);
  // 3 of 40 lost are within chance, and beyond the limit if they aren't chance.
  const auto some = answers_of([](int64_t q, int64_t) { return q > 2; });
  CHECK(verdict(all, some, Quantity::accuracy) == Verdict::unsure);
  CHECK(verdict(some, all, Quantity::accuracy) == Verdict::same);
  // Log-probabilities say more than right and wrong.
  CHECK(verdict(all, answers_of(always, 2.5), Quantity::log_probability) == Verdict::worse);
  CHECK(verdict(all, answers_of(always, 1.5), Quantity::log_probability) == Verdict::better);
  CHECK(verdict(all, answers_of(always, 2.01), Quantity::log_probability) == Verdict::same);
  const auto ten = answers_of(always, 2, 10);
  const auto none_of_ten = answers_of([](int64_t, int64_t) { return false; }, 2, 10);
  const Comparison few = compare(run_of(ten), run_of(none_of_ten), {});
  CHECK(find(few, Quantity::accuracy).verdict == Verdict::unsure);
  CHECK(find(few, Quantity::accuracy).note == "10 independent answers; expected 20 or more");
  Thresholds thresholds;
  thresholds.set("answers=10");
  CHECK(verdict(ten, none_of_ten, Quantity::accuracy, thresholds) == Verdict::worse);
  thresholds.set("accuracy=off");
  CHECK(verdict(ten, none_of_ten, Quantity::accuracy, thresholds) == Verdict::shown);
  CHECK_THROWS_WITH(thresholds.set("answers=1.5"),
                    ContainsSubstring("answers is '1.5'; expected an integer of 2 or more"));
  CHECK_THAT(format_comparison(compare(run_of(all), run_of(half), {}), false),
             ContainsSubstring("accuracy         100.00 %    50.00 %  -50.00 %"));
  // Answers that are others than the results'.
  const test::TemporaryFolder folder;
  const fs::path file = folder.path() / "a.jsonl";
  write_answers(file, half);
  CHECK(read_answers(file, bins_of(half)).size() == half.size());
  CHECK_THROWS_WITH(read_answers(file, bins_of(all)),
                    ContainsSubstring("the share of right answers is 0.5; expected 1"));
  write_answers(file, {half.data(), 3});
  CHECK_THROWS_WITH(read_answers(file, bins_of(half)), ContainsSubstring("answers: 3; expected "));
  // A history has no answers one by one.
  MeasuredRun history = run_of(all);
  history.answers = {};
  CHECK(find(compare(history, run_of(half), {}), Quantity::accuracy).verdict == Verdict::shown);
}
