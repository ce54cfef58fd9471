#include "base/json.h"

namespace sinkbench {

bool is_nested_deeper(std::string_view json, int depth) {
  int open = 0;
  for (size_t at = 0; at < json.size(); ++at) {
    switch (json[at]) {
      case '"':  // to its end: brackets of a text are none
        for (++at; at < json.size() && json[at] != '"'; ++at) {
          if (json[at] == '\\') ++at;
        }
        break;
      case '[':
      case '{':
        if (++open > depth) return true;
        break;
      case ']':
      case '}':
        --open;
        break;
      default:
        break;
    }
  }
  return false;
}

}  // namespace sinkbench
