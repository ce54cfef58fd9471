// What of the machine the process uses: cores, and OpenBLAS's kernels.
#include <sched.h>

#include <fstream>

#include "base/machine_limits.h"
#include "base/openblas.h"
#include "tests/catch.h"
#include "tests/environment.h"

using namespace sinkbench;
namespace fs = std::filesystem;

namespace {

/// A root with /proc and /sys as a control group has them.
class Root {
 public:
  Root() { fs::remove_all(path); }
  ~Root() { fs::remove_all(path); }
  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((path / file).parent_path());
    std::ofstream(path / file) << text;
  }
  const fs::path path = fs::temp_directory_path() / "sinkbench_machine_test";
};

int64_t processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
  return CPU_COUNT(&set);
}

}  // namespace

TEST_CASE("cores are the least of affinity, quota and OMP_NUM_THREADS") {
  const Root root;
  const test::Variable none("OMP_NUM_THREADS", nullptr);
  CHECK(available_cores(root.path).count == processors());
  CHECK(available_cores(root.path).limit == "affinity");
  if (processors() < 2) {
    WARN("one processor: nothing is less");
    return;
  }
  {
    const test::Variable one("OMP_NUM_THREADS", "1,4");
    CHECK(available_cores(root.path).count == 1);
    CHECK(available_cores(root.path).limit == "OMP_NUM_THREADS");
  }
  {
    const test::Variable many("OMP_NUM_THREADS", "100000");
    CHECK(available_cores(root.path).count == processors());
  }
  const test::Variable nonsense("OMP_NUM_THREADS", "many");
  CHECK(available_cores(root.path).count == processors());

  SECTION("a quota of the unified hierarchy, of a group around the own one") {
    root.write("proc/self/cgroup", "0::/user.slice/job\n");
    root.write("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
    CHECK(available_cores(root.path).count == processors());
    root.write("sys/fs/cgroup/user.slice/cpu.max", "100000 100000\n");
    CHECK(available_cores(root.path).count == 1);
    CHECK(available_cores(root.path).limit == "cgroup quota");
    root.write("sys/fs/cgroup/user.slice/cpu.max", "5000 100000\n");  // less than one core is one
    CHECK(available_cores(root.path).count == 1);
    root.write("sys/fs/cgroup/user.slice/cpu.max", "100100 100000\n");  // rounded up
    CHECK(available_cores(root.path).count == 2);
  }
  SECTION("a container that sees the mount as its own group") {
    root.write("proc/self/cgroup", "0::/docker/0123\n");
    root.write("sys/fs/cgroup/cpu.max", "90000 100000\n");
    CHECK(available_cores(root.path).count == 1);
  }
  SECTION("the older hierarchies") {
    root.write("proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/job\n");
    root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
    root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    CHECK(available_cores(root.path).count == processors());
    root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n");
    CHECK(available_cores(root.path).limit == "cgroup quota");
  }
}

TEST_CASE("OpenBLAS's kernels are judged by what the processor can") {
  using enum simd::Level;
  CHECK(better_openblas_core("Prescott", avx512) == "SKYLAKEX");
  CHECK(better_openblas_core("Zen", avx512) == "SKYLAKEX");
  CHECK(better_openblas_core("Haswell", avx512) == "SKYLAKEX");
  CHECK(better_openblas_core("Prescott", avx2) == "HASWELL");
  CHECK(better_openblas_core("Zen", avx2).empty());
  CHECK(better_openblas_core("SkylakeX", avx512).empty());
  CHECK(better_openblas_core("SapphireRapids", avx512).empty());
  CHECK(better_openblas_core("Cooperlake", avx2).empty());
  CHECK(better_openblas_core("Prescott", baseline).empty());
  CHECK(better_openblas_core("neoversen1", baseline).empty());
}
