// Multiple-choice questions, one after the other, each with its right answer: the stream of
// StreamingLLM's table 5.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "datasets/json_records.h"
#include "eval/tasks/rendering.h"
#include "eval/tasks/task.h"

namespace sinkbench {
namespace {

using nlohmann::json;

struct Choice {
  std::string label, text;
};

struct Question {
  std::string text;
  std::vector<Choice> choices;
  size_t right = 0;
};

/// {"question": "...", "choices": {"text": [...], "label": [...]}, "answerKey": "B"}, as on the
/// Hugging Face hub, or {"question": {"stem": "...", "choices": [{"text", "label"}]}, "answerKey"},
/// as AI2 gave ARC out.
Question question_of(const json& record) {
  Question question;
  const json& asked = record.at("question");
  if (asked.is_object()) {
    question.text = asked.at("stem").get<std::string>();
    for (const json& choice : asked.at("choices")) {
      question.choices.push_back(
          {choice.at("label").get<std::string>(), choice.at("text").get<std::string>()});
    }
  } else {
    question.text = asked.get<std::string>();
    const json& labels = record.at("choices").at("label");
    const json& texts = record.at("choices").at("text");
    for (size_t i = 0; i < std::max(labels.size(), texts.size()); ++i) {
      question.choices.push_back({labels.at(i).get<std::string>(), texts.at(i).get<std::string>()});
    }
  }
  for (size_t i = 0; i < question.choices.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (question.choices[i].label != question.choices[j].label) continue;
      throw InputError::format("two choices have the label '{}'",
                               to_valid_utf8(question.choices[i].label));
    }
  }
  const auto key = record.at("answerKey").get<std::string>();
  const auto right = std::find_if(question.choices.begin(), question.choices.end(),
                                  [&](const Choice& choice) { return choice.label == key; });
  if (right == question.choices.end()) {
    throw InputError::format("answerKey is '{}', which is the label of no choice",
                             to_valid_utf8(key));
  }
  question.right = static_cast<size_t>(right - question.choices.begin());
  return question;
}

std::vector<Question> read_questions(const std::vector<std::filesystem::path>& files,
                                     int64_t most) {
  std::vector<Question> questions;
  for (const std::filesystem::path& file : files) {
    JsonRecords records(TextFile(file), JsonRecords::Layout::lines);
    while (std::ssize(questions) < most) {
      const auto record = records.next();
      if (!record) break;
      try {
        questions.push_back(question_of(parse_json(record->json)));
      } catch (const json::exception& error) {
        throw InputError::format(
            "{}:{}: {}; expected an object of question, choices (text, label) and answerKey",
            file.string(), record->line, json_reason(error));
      } catch (const InputError& error) {
        throw InputError::format("{}:{}: {}", file.string(), record->line, error.what());
      }
    }
  }
  if (questions.empty()) {
    throw InputError::format("{}: there is no question in it", files.front().string());
  }
  return questions;
}

TaskStream make_arc_stream(const TaskSource& source) {
  const bool letters = source.arguments.at("answer").word() == "letter";
  const int64_t most = source.arguments.at("questions").integer();
  const std::vector<Question> questions = read_questions(source.texts, most);
  TaskStream stream;
  const int64_t first = stream.begin_sample(source.prefix);
  Rendering rendering(*source.tokenizer);
  for (size_t q = 0; q < questions.size(); ++q) {
    const Question& question = questions[q];
    std::string prompt = fmt::format("Question: {}\n", question.text);
    if (letters) {
      for (const Choice& choice : question.choices) {
        prompt += fmt::format("{}. {}\n", choice.label, choice.text);
      }
    }
    const int64_t asked = first + rendering.size();
    rendering.add(prompt + "Answer:");
    const int64_t begin = first + rendering.size();
    const Choice& right = question.choices[question.right];
    // A text's line end is a part of it: without it, it would go on.
    rendering.add(letters ? " " + right.label : " " + right.text + "\n");
    TaskQuestion entry{.group = static_cast<int64_t>(q),
                       .asked = asked,
                       .begin = begin,
                       .end = first + rendering.size(),
                       .fact_begin = asked,
                       .fact_end = asked,  // nothing before has the answer
                       .distance = begin - asked,
                       .of = {}};
    if (letters && entry.end - entry.begin == 1) {
      for (const Choice& choice : question.choices) {
        const std::vector<int32_t> before = source.tokenizer->encode("Answer:", false);
        const std::vector<int32_t> with =
            source.tokenizer->encode("Answer: " + choice.label, false);
        if (with.size() == before.size() + 1) entry.choices.push_back(with.back());
      }
      if (entry.choices.size() != question.choices.size()) entry.choices.clear();
    }
    if (letters) rendering.add("\n");
    stream.questions.push_back(std::move(entry));
  }
  const std::vector<int32_t> ids = rendering.finish();
  stream.ids.insert(stream.ids.end(), ids.begin(), ids.end());
  return stream;
}

}  // namespace

TaskEntry arc_stream_task() {
  return {
      .name = "arc_stream",
      .summary = "multiple-choice questions of `text` one after the other, each with its answer",
      .source = "Xiao et al. 2023, arXiv 2309.17453, table 5; Clark et al. 2018 (ARC)",
      .parameters = {{.name = "answer",
                      .meaning = "the right choice's letter, with the choices shown, or its text "
                                 "alone",
                      .fallback = "letter",
                      .words = {"letter", "text"}},
                     {"questions", "at the most", 100'000}},
      .texts = TaskTexts::required,
      .make = make_arc_stream};
}

}  // namespace sinkbench
