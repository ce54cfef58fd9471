// Included before everything else in the fuzz build: clang takes libstdc++'s constexpr vector as a
// reason to look into vectors of types that LibTorch has only declared yet. Here it isn't constexpr.
#pragma once

#include <string>

#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#define __fill_a1 __fill_a1_of_plain_vector  // declared constexpr above
#include <vector>
#undef __fill_a1
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR constexpr
