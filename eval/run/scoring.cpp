#include "eval/run/scoring.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "base/console.h"
#include "base/error.h"
#include "eval/engines/method.h"
#include "eval/results/decision_file.h"
#include "eval/results/nll_file.h"
#include "eval/run/answer_log.h"

namespace sinkbench {
namespace {

namespace fs = std::filesystem;
using Clock = CheckpointClock::Clock;

class Scoring {
 public:
  explicit Scoring(const ScoringJob& job)
      : job_(job),
        stream_(job.stream),
        engine_(make_engine(job.cell.engine, job.decoder, job.policy, options())),
        means_(to_score()) {}

  Scored run() {
    start();
    if (!go_on()) begin();
    const double earlier_seconds = checkpoint_.seconds + divergence_seconds();
    const bool complete = checkpoint_.next == last_place();
    if (!complete) score_rest();
    if (!std::isfinite(means_.mean())) {
      throw std::runtime_error(
          "the NLL is not a finite number: the model's weights or the precision overflow");
    }
    if (log_) log_->finish();
    file_->finish();
    Scored scored{means_, checkpoint_.seconds, earlier_seconds};
    if (answers_) scored.answers = answers_->answers(read_nll_file(job_.nll_file));
    if (divergence_) scored.divergence = divergence_->result(job_.cell.reference);
    return scored;
  }

 private:
  bool logs() const {
    return job_.cell.decisions && dynamic_cast<const ScorePolicy*>(&job_.policy) != nullptr;
  }
  EngineOptions options() {
    EngineOptions options = {.chunk = job_.cell.chunk, .storage = job_.cell.kv};
    if (logs() || job_.questions != nullptr) {
      options.decisions.sink = [this](std::span<const Decision> decisions) { append(decisions); };
    }
    return options;
  }
  void append(std::span<const Decision> decisions) {
    for (const Decision& decision : decisions) {
      if (answers_) answers_->add(decision);
      if (!log_) continue;
      const int64_t begin = stream_.pieces[decision.piece];
      EvictionRecord record = {begin + decision.t, decision.layer, decision.head, decision.places};
      for (int64_t& place : record.places) place += begin;
      log_->append(record);
    }
  }

  /// Engines at the beginning of the stream.
  void start() {
    const Cell& cell = job_.cell;
    engine_->begin(stream_);
    if (job_.questions != nullptr) {
      answers_.emplace(stream_, *job_.questions, job_.policy, job_.decoder.config());
    }
    if (job_.reference == nullptr) return;
    divergence_.emplace(job_.decoder, job_.policy,
                        cell.reference == cell.id ? nullptr : job_.reference, cell.engine,
                        EngineOptions{.chunk = cell.chunk, .storage = cell.kv}, stream_);
  }

  int64_t to_score() const { return stream_.scored(engine_->stride()); }
  /// Engine::next where all is done.
  int64_t last_place() const { return static_cast<int64_t>(stream_.ids.size()) - 1; }
  NllPrecision precision() const {
    return job_.cell.dtype == "float64" ? NllPrecision::float64 : NllPrecision::float32;
  }
  double divergence_seconds() const { return divergence_ ? divergence_->seconds() : 0; }

  void begin() {
    file_.reset();
    log_.reset();
    forget_cell(job_.nll_file);
    file_.emplace(job_.nll_file, precision());
    const fs::path log = decision_path(job_.nll_file);
    fs::remove(log);  // of a run before
    if (logs()) log_.emplace(log);
    means_ = BatchMeans(to_score());
    checkpoint_ = {.identity = job_.identity, .state = {}, .divergence = {}, .answers = {}};
  }

  /// Takes up what was left of the same cell, if there is anything.
  bool go_on() {
    const fs::path path = checkpoint_path(job_.nll_file);
    if (!fs::exists(path)) return false;
    try {
      checkpoint_ = read_checkpoint(path);
      const std::string different = differences(checkpoint_.identity, job_.identity);
      if (!different.empty()) {
        throw InputError("its checkpoint was made with other values of: " + different);
      }
      file_.emplace(job_.nll_file, precision(), checkpoint_.scored);
      for (const double value : read_nll_file(nll_part(job_.nll_file))) means_.add(value);
      if (means_.count() != checkpoint_.scored || means_.mean() != checkpoint_.nll_mean) {
        throw InputError("its NLLs are not those that the checkpoint was made with");
      }
      if (logs()) log_.emplace(decision_path(job_.nll_file), checkpoint_.decision_bytes);
      if (checkpoint_.next < last_place()) {
        engine_->resume(checkpoint_.next, checkpoint_.state);
      }
      if (answers_) answers_->resume(checkpoint_.answers);
      if (divergence_) divergence_->resume(checkpoint_.divergence);
    } catch (const InputError& error) {
      say(fmt::format("{}; the cell is run afresh", error.what()));
      start();
      return false;
    }
    checkpoint_.state.clear();
    checkpoint_.answers.clear();
    checkpoint_.divergence.clear();
    say(fmt::format("goes on from token {} of {}", checkpoint_.next, last_place()));
    return true;
  }

  void score_rest() {
    Progress progress(job_.progress, job_.label, to_score(), "tokens", means_.count());
    CheckpointClock clock;
    since_ = Clock::now();
    const bool with_logits = answers_ || divergence_;
    while (!engine_->done()) {
      engine_->advance_rows([&](const QueryRows& rows) {
        engine_->score_rows(rows, with_logits, [&](const ScoredRows& scored) {
          for (const double value : scored.nll) means_.add(value);
          file_->append(scored.nll);
          if (answers_) answers_->add(scored);
          if (!divergence_) return;
          const double before = divergence_->seconds();
          divergence_->add(scored);
          elsewhere_ += divergence_->seconds() - before;
        });
      });
      progress.update(means_.count());
      const bool stopped = job_.stop != nullptr && job_.stop->load();
      if (!stopped && !engine_->done() && !clock.due()) continue;
      const auto begin = Clock::now();
      save();
      clock.written(begin);
      if (stopped) {
        throw Interrupted(
            fmt::format("in {}, at token {} of {}", job_.cell.id, engine_->next(), last_place()));
      }
    }
  }

  void save() {
    const auto now = Clock::now();
    checkpoint_.next = engine_->next();
    checkpoint_.scored = means_.count();
    checkpoint_.nll_mean = means_.mean();
    checkpoint_.seconds +=
        std::chrono::duration<double>(now - since_).count() - std::exchange(elsewhere_, 0);
    since_ = now;
    if (!engine_->done()) checkpoint_.state = engine_->state();
    if (answers_) checkpoint_.answers = answers_->state();
    if (divergence_) checkpoint_.divergence = divergence_->state();
    file_->sync();
    if (log_) checkpoint_.decision_bytes = log_->sync();
    try {
      write_checkpoint(checkpoint_, checkpoint_path(job_.nll_file));
    } catch (const InputError& error) {
      // It is an insurance: the run goes on without it as long as it can.
      if (!save_failed_) say(fmt::format("no checkpoint: {}", error.what()));
      save_failed_ = true;
    }
    checkpoint_.state.clear();
    checkpoint_.answers.clear();
    checkpoint_.divergence.clear();
  }

  void say(const std::string& text) const { remark("{}: {}\n", job_.cell.id, text); }

  const ScoringJob& job_;
  const Stream stream_;
  std::unique_ptr<Engine> engine_;
  std::optional<Divergence> divergence_;
  std::optional<AnswerLog> answers_;
  BatchMeans means_;
  std::optional<NllFile> file_;
  std::optional<DecisionFile> log_;
  CellCheckpoint checkpoint_;
  Clock::time_point since_;  // since when time is not yet in the checkpoint
  double elsewhere_ = 0;     // seconds since then that divergence took
  bool save_failed_ = false;
};

}  // namespace

Stream as_stream(const TokenStream& text) {
  return {.ids = text.ids, .pieces = text.pieces};
}

Scored score_to_file(const ScoringJob& job) {
  return Scoring(job).run();
}

}  // namespace sinkbench
