// The last `window` tokens, and every `stride`-th of those before them back to the beginning of
// the last `reach` (a policy by index, in C++).
#include <sinkbench/policy.h>

#include <algorithm>
#include <cstdio>
#include <new>

namespace {

struct Window {
  int64_t window, reach, stride;
};
const Window& of(const void* self) {
  return *static_cast<const Window*>(self);
}

const sb_parameter parameters[] = {
    {sizeof(sb_parameter), SB_INTEGER, SB_REQUIRED | SB_SIZE, "window", "last tokens, all of them",
     1, 1 << 30, 0, nullptr},
    {sizeof(sb_parameter), SB_INTEGER, 0, "reach", "tokens before them that some are kept of", 0,
     1 << 30, 64, nullptr},
    {sizeof(sb_parameter), SB_INTEGER, 0, "stride", "of which every so many-th is kept", 1, 1 << 20,
     4, nullptr}};

void* make(const sb_cache*, const sb_argument* const* given, char* error, size_t room) {
  const Window window = {given[0]->integer, given[1]->integer, given[2]->integer};
  if (window.stride > window.reach && window.reach > 0) {
    std::snprintf(error, room, "stride is %ld; expected no more than reach, %ld",
                  static_cast<long>(window.stride), static_cast<long>(window.reach));
    return nullptr;
  }
  return new (std::nothrow) Window(window);
}

int64_t view(const void* self, int32_t, int64_t t, int64_t* ranges, int64_t room) {
  const Window& w = of(self);
  const int64_t recent = std::max<int64_t>(0, t - w.window);
  int64_t count = 0;
  const auto add = [&](int64_t begin, int64_t end) {
    if (count < room) ranges[2 * count] = begin, ranges[2 * count + 1] = end;
    ++count;
  };
  // Places that are multiples of the stride, so that what has left never comes back.
  const int64_t first = std::max<int64_t>(0, recent - w.reach);
  for (int64_t j = (first + w.stride - 1) / w.stride * w.stride; j < recent; j += w.stride) {
    add(j, j + 1);
  }
  add(recent, t);
  return count;
}

const sb_policy policy = [] {
  sb_policy p = {};
  p.size = sizeof p;
  p.kind = SB_BY_INDEX;
  p.name = "my_window";
  p.summary = "keeps the last tokens, and some of those before them";
  p.source = "an example";
  p.parameters = parameters;
  p.n_parameters = 3;
  p.make = make;
  p.destroy = [](void* self) { delete static_cast<Window*>(self); };
  p.view = view;
  p.capacity = [](const void* self) -> int64_t {
    return of(self).window + of(self).reach / of(self).stride + 1;
  };
  p.label = [](const void* self, char* text, size_t room) {
    std::snprintf(text, room, "%ld+%ld/%ld", static_cast<long>(of(self).window),
                  static_cast<long>(of(self).reach), static_cast<long>(of(self).stride));
  };
  return p;
}();
const sb_policy* const policies[] = {&policy};
const sb_plugin plugin = {sizeof(sb_plugin), SINKBENCH_POLICY_ABI, "1.0", policies, 1};

}  // namespace

const sb_plugin* sinkbench_policies_v1(void) {
  return &plugin;
}
