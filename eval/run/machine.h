// Facts of the machine and the program, recorded with every result.
#pragma once

#include <cstdint>
#include <string>

#include "base/machine_limits.h"
#include "eval/results/results.h"

namespace sinkbench {

/// Versions, machine and time of the run that begins now, with a warning for everything that makes
/// its timings untrustworthy (a debug build, a busy machine, a slow BLAS,
/// where products are on the CPU).
RunInfo describe_run(const std::string& name, const std::string& config_sha256,
                     bool products_on_cpu = true);

/// The most memory that the process has held since the last reset, in bytes, and the reset. Where
/// the system has no reset (Linux has), the peak is that since the start.
int64_t peak_rss_bytes();
void reset_peak_rss();

}  // namespace sinkbench
