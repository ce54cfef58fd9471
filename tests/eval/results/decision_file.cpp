#include "eval/results/decision_file.h"

#include <fstream>

#include "base/error.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace sinkbench;

TEST_CASE("a decision log is read as it was written, and gone on from after a sync") {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "cell.decisions.jsonl.zst";
  std::vector<EvictionRecord> records;
  for (int64_t t = 0; t < 5000; ++t) {
    records.push_back({t, t % 3, t % 2, {t / 2, t / 2 + 7}});
  }
  int64_t bytes = 0;
  {
    DecisionFile file(path);
    for (size_t i = 0; i < 2000; ++i) file.append(records[i]);
    bytes = file.sync();
    for (size_t i = 2000; i < 2500; ++i) file.append(records[i]);  // lost with the process
    file.sync();
  }
  CHECK(!std::filesystem::exists(path));
  {
    DecisionFile file(path, bytes);
    for (size_t i = 2000; i < records.size(); ++i) file.append(records[i]);
    file.finish();
  }
  CHECK((read_decision_file(path) == records));
  // Finished, and gone on from all the same.
  {
    DecisionFile file(path, bytes);
    file.finish();
  }
  CHECK((read_decision_file(path) ==
         std::vector<EvictionRecord>(records.begin(), records.begin() + 2000)));
  CHECK_THROWS_AS(DecisionFile(path, 1 << 30), InputError);
}

TEST_CASE("what is no decision log is refused") {
  const test::TemporaryFolder folder;
  const auto path = folder.path() / "x.decisions.jsonl.zst";
  std::ofstream(path) << "[1, 2]\n";
  CHECK_THROWS_WITH(read_decision_file(path), ContainsSubstring("no decision log"));
  {
    DecisionFile file(path);
    file.finish();
  }
  CHECK(read_decision_file(path).empty());
}
