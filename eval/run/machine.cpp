#include "eval/run/machine.h"

#include <ATen/Context.h>
#include <dlfcn.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string_view>

#include "base/openblas.h"
#include "eval/run/version.h"
#include "models/product.h"

namespace sinkbench {
namespace {

/// The value after "key" and ":" or "=" in a file of such lines, "" where there is none.
std::string lookup(const char* file, std::string_view key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const size_t separator = line.find_first_of(":=", key.size());
    if (separator == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t\"", separator + 1);
    const size_t end = line.find_last_not_of(" \t\"");
    return begin == std::string::npos ? "" : line.substr(begin, end - begin + 1);
  }
  return "";
}

/// OpenBLAS describes itself; other libraries behind libblas.so.3 don't.
struct Blas {
  std::string description = "unknown";
  std::string warning = {};
};
Blas blas() {
  if (at::hasMKL()) return {"MKL"};
  const auto config = reinterpret_cast<char* (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  const auto core = reinterpret_cast<char* (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  if (config == nullptr || core == nullptr) {
    return {.warning =
                "the BLAS is not OpenBLAS: matrix products may be 50 times slower "
                "(Debian: apt-get install libopenblas0-openmp)"};
  }
  Blas blas{fmt::format("{}, kernels for {}{}", config(), core(),
                        uses_onednn() ? "; float32 products of many rows by oneDNN" : "")};
  if (const std::string better = better_openblas_core(core()); !better.empty()) {
    blas.warning = fmt::format(
        "OpenBLAS uses its kernels for {}, though the processor has what those for {} need: matrix "
        "products may be several times slower (set OPENBLAS_CORETYPE={}, or take a newer OpenBLAS)",
        core(), better, better);
  } else if (blas.description.find("USE_OPENMP") == std::string::npos) {
    blas.warning =
        "OpenBLAS was built with threads of its own, which fight LibTorch's for "
        "the cores (Debian: apt-get install libopenblas0-openmp)";
  }
  return blas;
}

}  // namespace

int64_t peak_rss_bytes() {
  const std::string peak = lookup("/proc/self/status", "VmHWM");  // "123456 kB"
  if (!peak.empty()) return std::strtoll(peak.c_str(), nullptr, 10) * 1024;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

void reset_peak_rss() {
  std::ofstream("/proc/self/clear_refs") << "5";
}

RunInfo describe_run(const std::string& name, const std::string& config_sha256,
                     bool products_on_cpu) {
  const Blas library = blas();
  RunInfo info;
  info.name = name;
  info.config_sha256 = config_sha256;
  info.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  info.versions = {{"sinkbench", version},      {"commit", commit},
                   {"build_type", build_type},  {"compiler", __VERSION__},
                   {"libtorch", TORCH_VERSION}, {"blas", library.description},
                   {"sources", sources}};
  utsname system{};
  uname(&system);
  double load[3] = {0, 0, 0};
  getloadavg(load, 3);
  const Cores cores = available_cores();
  info.machine = {{"cpu", lookup("/proc/cpuinfo", "model name")},
                  {"cores", std::to_string(cores.count)},
                  {"cores_limited_by", cores.limit},
                  {"memory", lookup("/proc/meminfo", "MemTotal")},
                  {"os", lookup("/etc/os-release", "PRETTY_NAME")},
                  {"kernel", fmt::format("{} {}", system.sysname, system.release)},
                  {"load_average", fmt::format("{:.2f}", load[0])}};
#ifndef NDEBUG
  info.warnings.push_back("this is a debug build: its timings say nothing about a release build");
#endif
  if (load[0] > 0.5 * static_cast<double>(cores.count)) {
    info.warnings.push_back(
        fmt::format("the machine was busy (load average {:.2f} on {} cores) when "
                    "the run began: timings may be too long",
                    load[0], cores.count));
  }
  if (products_on_cpu && !library.warning.empty()) info.warnings.push_back(library.warning);
  return info;
}

}  // namespace sinkbench
