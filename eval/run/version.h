// What is built; scripts/version.cmake writes the values.
#pragma once

namespace sinkbench {

extern const char* const version;
extern const char* const commit;  ///< as git describes it; "unknown" outside a checkout
extern const char* const build_type;
/// SHA-256 of the sources and flags that numbers hang on: two builds of the same compute the same.
extern const char* const sources;

}  // namespace sinkbench
