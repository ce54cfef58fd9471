#include "cli/tensors.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <stdexcept>

#include "base/openblas.h"

namespace sinkbench {
namespace {

/// What libraries read from the environment when they are loaded. What the user has set stays.
void configure_libraries() {
  // A thread that waits for others spins for half a millisecond at most and then sleeps: asleep
  // between the products of a decode step it costs a tenth of the step, asleep at once a quarter of
  // the scoring speed; spinning for long, as is the default, holds the core that others need on a
  // busy machine.
  if (getenv("OMP_WAIT_POLICY") == nullptr) setenv("GOMP_SPINCOUNT", "10000", /*overwrite=*/0);
  if (getenv("OPENBLAS_CORETYPE") != nullptr) return;
  // The BLAS that LibTorch will ask for is asked which kernels it would take, which costs some
  // milliseconds, and loaded anew where it would take wrong ones.
  void* blas = dlopen("libblas.so.3", RTLD_LAZY | RTLD_LOCAL);
  if (blas == nullptr) return;
  if (const auto core = reinterpret_cast<char* (*)()>(dlsym(blas, "openblas_get_corename"))) {
    const std::string better = better_openblas_core(core());
    if (!better.empty()) setenv("OPENBLAS_CORETYPE", better.c_str(), 1);
  }
  dlclose(blas);
}

/// What signals do stays as it was. Debian 13's LibTorch loads UCX, which takes SIGHUP for its
/// debugging even where nohup had it ignored, and the signals of faults.
class SignalsKept {
 public:
  SignalsKept() {
    for (size_t i = 0; i < before_.size(); ++i) ::sigaction(number(i), nullptr, &before_[i]);
  }
  SignalsKept(const SignalsKept&) = delete;
  ~SignalsKept() {
    for (size_t i = 0; i < before_.size(); ++i) ::sigaction(number(i), &before_[i], nullptr);
  }

 private:
  static int number(size_t i) { return static_cast<int>(i) + 1; }
  // SIGKILL's and SIGSTOP's can't be set, and needn't.
  std::array<struct sigaction, SIGSYS> before_ = {};
};

const TensorCommands* commands = nullptr;

}  // namespace

bool tensor_commands_loaded() {
  return commands != nullptr;
}

const TensorCommands& tensor_commands(bool cuda) {
  if (commands != nullptr) return *commands;
  configure_libraries();
  const SignalsKept signals;
  void* library = nullptr;  // the program's RUNPATH says where they are
  if (cuda) library = dlopen("libsinkbench_tensors_cuda.so", RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) library = dlopen("libsinkbench_tensors.so", RTLD_LAZY | RTLD_LOCAL);
  const void* symbol = library == nullptr ? nullptr : dlsym(library, "sinkbench_tensor_commands");
  if (symbol == nullptr) throw std::runtime_error(fmt::format("cannot load {}", dlerror()));
  commands = static_cast<const TensorCommands*>(symbol);
  return *commands;
}

}  // namespace sinkbench
