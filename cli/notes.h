// What a user should know of what was read, on standard error.
#pragma once

#include <set>
#include <string>
#include <vector>

namespace sinkbench {

/// Says each note once.
class Notes {
 public:
  void say(const std::vector<std::string>& notes);

 private:
  std::set<std::string> said_;
};

}  // namespace sinkbench
