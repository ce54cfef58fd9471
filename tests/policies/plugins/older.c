/* A plug-in that was compiled against a header whose structs had fewer members at their ends. */
#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint32_t size, kind, flags;
  const char *name, *meaning;
  double least, most, fallback;
} sb_parameter;
typedef struct {
  uint32_t size;
  int64_t integer;
} sb_argument;
typedef struct {
  uint32_t size;
  int64_t capacity;
} sb_cache;
typedef struct {
  uint32_t size;
  int32_t sum;
  double decay;
} sb_needs;
typedef struct {
  uint32_t size;
  int32_t layer, head;
  int64_t n, keep, next;
  const int64_t* place;
  const double* sum;
} sb_round;
typedef struct {
  uint32_t size, kind, flags;
  const char *name, *summary, *source;
  const sb_parameter* parameters;
  int32_t n_parameters;
  void* (*make)(const sb_cache*, const sb_argument* const*, char*, size_t);
  void (*destroy)(void*);
  int64_t (*view)(const void*, int32_t, int64_t, int64_t*, int64_t);
  int64_t (*capacity)(const void*);
  void (*label)(const void*, char*, size_t);
  void (*needs)(const void*, sb_needs*);
  int32_t (*score)(const void*, const sb_round*, double*);
} sb_policy;
typedef struct {
  uint32_t size, abi;
  const char* version;
  const sb_policy* const* policies;
  int32_t n_policies;
} sb_plugin;

static int64_t sign = 0;
static void* make(const sb_cache* cache, const sb_argument* const* arguments, char* error,
                  size_t room) {
  (void)cache, (void)error, (void)room;
  sign = arguments[1]->integer;
  return &sign;
}
static void needs(const void* self, sb_needs* needs) { (void)self, needs->sum = 1; }
static int32_t score(const void* self, const sb_round* round, double* scores) {
  int64_t i;
  for (i = 0; i < round->n; ++i) {
    scores[i] = (double)*(const int64_t*)self * round->sum[i] / (double)(round->next - round->place[i]);
  }
  return 0;
}

__attribute__((visibility("default"))) const sb_plugin* sinkbench_policies_v1(void) {
  static const sb_parameter parameters[] = {
      {sizeof(sb_parameter), 1, 0, "weight", "is not used", -1.5, 1.5, 0.25},
      {sizeof(sb_parameter), 0, 0, "sign", "of the mean", -1, 1, 1}};
  static const sb_policy older = {sizeof(sb_policy), 1, 1, "older", "keeps by the mean weight",
                                  "a test", parameters, 2, make, NULL, NULL, NULL, NULL, needs,
                                  score};
  static const sb_policy* const policies[] = {&older};
  static const sb_plugin plugin = {sizeof(sb_plugin), 1, "0.9", policies, 1};
  return &plugin;
}
