#include "eval/run/turns.h"

#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "eval/run/scoring.h"

namespace sinkbench {
namespace {

constexpr const char* variable = "SINKBENCH_TURNS";

template <typename Call>
ssize_t retried(Call call) {
  ssize_t n = 0;
  do {
    n = call();
  } while (n < 0 && errno == EINTR);
  return n;
}

}  // namespace

Turns::Turns(int descriptor, std::string session)
    : descriptor_(descriptor), session_(std::move(session)) {}

Turns* Turns::taken() {
  static std::optional<Turns> turns = []() -> std::optional<Turns> {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == '\0') return std::nullopt;
    const std::string_view text = value;
    const size_t colon = text.find(':');
    int descriptor = -1;
    const auto [end, error] =
        std::from_chars(value, value + std::min(colon, text.size()), descriptor);
    if (error != std::errc() || descriptor < 0 || colon == text.npos || end != value + colon ||
        colon + 1 == text.size()) {
      throw InputError::format("{}='{}': expected DESCRIPTOR:SESSION, which `sinkbench ab` sets",
                               variable, text);
    }
    return Turns(descriptor, std::string(text.substr(colon + 1)));
  }();
  return turns ? &*turns : nullptr;
}

void Turns::ask(char what) {
  char bytes[sizeof number_];
  const bool asked = retried([&] { return ::send(descriptor_, &what, 1, MSG_NOSIGNAL); }) == 1;
  // So few bytes that were sent at once come at once.
  if (!asked || retried([&] { return ::recv(descriptor_, bytes, sizeof bytes, MSG_WAITALL); }) !=
                    sizeof bytes) {
    throw Interrupted("while it waited for its turn beside another program");
  }
  std::memcpy(&number_, bytes, sizeof bytes);
}

}  // namespace sinkbench
