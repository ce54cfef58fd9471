#include "reports/history.h"

#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("history.db");
  return fuzz::run(input, data, size, [] {
    const std::vector<HistoryRun> runs = read_history(input.file(), "");
    for (const HistoryFormat format :
         {HistoryFormat::table, HistoryFormat::csv, HistoryFormat::json}) {
      format_history(runs, "*", format);
    }
    for (const HistoryRun& run : runs) {
      Results other = run.results;
      other.info.started += ", later";
      const auto baseline = baseline_from_history(input.file(), run.branch, other);
      if (!baseline) continue;
      for (const CellResult& cell : baseline->results.cells) baseline->nll(cell);
    }
  });
}
