#include "eval/results/results.h"

#include <nlohmann/json.hpp>

#include "reports/tables.h"
#include "tests/fuzz/input_file.h"

using namespace sinkbench;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::InputFile input("results.json");
  return fuzz::run(input, data, size, [] {
    const Results results = read_results(input.folder());
    to_json(results);
    for (const ReportFormat format :
         {ReportFormat::table, ReportFormat::markdown, ReportFormat::csv}) {
      format_report(results, format);
    }
  });
}
