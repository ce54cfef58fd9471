#include "cli/notes.h"

#include <fmt/format.h>

#include "base/console.h"

namespace sinkbench {

void Notes::say(const std::vector<std::string>& notes) {
  for (const std::string& note : notes) {
    if (said_.insert(note).second) remark("note: {}\n", note);
  }
}

}  // namespace sinkbench
