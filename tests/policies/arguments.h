// Arguments for tests that go over the whole registry.
#pragma once

#include <algorithm>

#include "policies/registry.h"

namespace sinkbench::test {

/// Of a cache of about so many tokens, the rest at its defaults or as small as it may be.
inline PolicyArguments arguments_of_size(const PolicyEntry& entry, int64_t size) {
  PolicyArguments arguments;
  for (const PolicyParameter& p : entry.parameters) {
    if (p.size) {
      arguments[p.name] = size;
    } else if (!p.optional && !p.only_with) {
      arguments[p.name] = p.fallback.value_or(PolicyValue(p.minimum));
    }
  }
  if (entry.is_score_policy()) {  // what is protected leaves room to choose
    for (const char* name : {"sinks", "recent"}) {
      arguments[name] = std::min(arguments[name].integer(), size / 4);
    }
    if (arguments.contains("rows")) arguments["rows"] = std::max<int64_t>(1, size / 4);
    if (arguments.contains("lag")) arguments["lag"] = std::max<int64_t>(2, size / 4);
  }
  return arguments;
}

/// With a round after so many tokens; where that is a block's size too, a power of 2 near it.
inline PolicyArguments with_rounds(const PolicyEntry& entry, PolicyArguments arguments,
                                   int64_t every) {
  arguments["every"] = entry.name == "openvino" && every > 1 ? 4 : every;
  return arguments;
}

}  // namespace sinkbench::test
