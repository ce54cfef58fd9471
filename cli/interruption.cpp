#include "cli/interruption.h"

namespace sinkbench {
namespace {

std::atomic<bool> interrupted = false;

}  // namespace

Interruption::Interruption() {
  interrupted = false;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    set(signal, [](int number) {
      interrupted = true;
      std::signal(number, SIG_DFL);
    });
  }
  set(SIGXFSZ, SIG_IGN);
}

Interruption::~Interruption() {
  for (const auto& [signal, before] : before_) ::sigaction(signal, &before, nullptr);
}

const std::atomic<bool>& Interruption::asked() {
  return interrupted;
}

void Interruption::set(int signal, void (*handler)(int)) {
  struct sigaction before {};
  ::sigaction(signal, nullptr, &before);
  if (before.sa_handler == SIG_IGN) return;
  before_.emplace_back(signal, before);
  std::signal(signal, handler);
}

}  // namespace sinkbench
