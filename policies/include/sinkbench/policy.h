/* Policies of one's own, as a shared library for sinkbench: C types alone, whatever compiler made
 * it. docs/plugins.md leads through it, examples/policy-plugin is a whole project.
 *
 * A plug-in exports one function, sinkbench_policies_v1. What it returns, and every string in it,
 * lives as long as the program. Every struct begins with its size and is only ever appended to:
 * who reads one looks at no more than what both sides know, so a plug-in that was compiled against
 * an older header of the same version still loads.
 *
 * All functions may be called from several threads at once, each pair of layer and head by one at
 * a time. None may throw an exception or call exit. */
#ifndef SINKBENCH_POLICY_H
#define SINKBENCH_POLICY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SINKBENCH_POLICY_ABI 1
#define SINKBENCH_POLICIES sinkbench_policies_v1 /* the function to define */

#if defined(_WIN32)
#define SINKBENCH_EXPORT __declspec(dllexport)
#else
#define SINKBENCH_EXPORT __attribute__((visibility("default")))
#endif

/* ---- parameters, as users write them: mine: {capacity: 512, strength: 0.3} ---- */

enum { SB_INTEGER = 0, SB_REAL = 1, SB_WORD = 2 }; /* sb_parameter.kind */
enum {                                             /* sb_parameter.flags */
       SB_REQUIRED = 1, /* has no fallback: it must be given */
       SB_SIZE = 2      /* of an index policy: the cache's size, along which results are one line */
};

typedef struct sb_parameter {
  uint32_t size; /* sizeof(sb_parameter) */
  uint32_t kind;
  uint32_t flags;
  const char* name;    /* letters, digits and '_' */
  const char* meaning; /* one line, for people */
  double least, most;  /* of numbers; integers between -2^40 and 2^40 */
  double fallback;     /* a number, where none is given */
  const char* const* words; /* SB_WORD: the words that it may be, then NULL; the first is the
                               fallback */
} sb_parameter;

/* One argument for each parameter, in their order. */
typedef struct sb_argument {
  uint32_t size;
  int64_t integer;
  double real;      /* of an integer, too */
  const char* word; /* one of the parameter's words; NULL where it is a number */
} sb_argument;

/* What is common to all policies by score; 0 for policies by index. */
typedef struct sb_cache {
  uint32_t size;
  int64_t capacity; /* entries that a round leaves; where budgets by layer or head are given, the
                       largest, and of pyramid and adaptive ones the mean */
  int64_t sinks;    /* first tokens of the stream, which the program protects */
  int64_t recent;   /* last entries, which the program protects */
  int64_t every;    /* tokens from one round to the next */
  int32_t by_layer; /* 1: all heads of a layer keep the same tokens */
  uint64_t seed;
} sb_cache;

/* ---- policies by score ---- */

/* Statistics that the program is to keep. A weight is the softmax weight that a query gives an
 * entry, its own token's included, reduced over the query heads that share the entry. */
typedef struct sb_needs {
  uint32_t size;
  int32_t sum;         /* 1: the sum of all weights so far */
  double decay;        /* by which that is multiplied before each query's weight; 1: not */
  int32_t squares;     /* 1: the sum of the weights' squares */
  int32_t last;        /* 1: the weight that the last query gave */
  int64_t rows;        /* the weights that the last so many queries gave */
  int64_t own;         /* so many numbers of each entry, which `observe` sees to */
  int32_t keys;        /* 1: keys, rotated at their place in the stream */
  int32_t values;      /* 1: values */
  int32_t entry_score; /* 1: what `enter` says of each entry */
  int32_t queries;     /* 1: sums of the queries so far, and of their products */
} sb_needs;

/* What comes into a cache. */
typedef struct sb_entry {
  uint32_t size;
  int32_t layer, head; /* head: the key/value head */
  int64_t place;       /* in the stream, from 0 */
  int64_t head_dim;
  const double* key;     /* [head_dim], before rotation */
  const double* rotated; /* [head_dim], at its place in the stream; NULL unless keys are asked for */
} sb_entry;

/* A query has seen the n entries of a head. Row r of `own` begins at own + r * own_stride; the
 * numbers of the entry that has just come, the last one, are 0. */
typedef struct sb_observation {
  uint32_t size;
  int32_t layer, head;
  int64_t t; /* the query's place */
  int64_t n;
  const int64_t* place;  /* [n], ascending; the query's own is the last */
  const double* weights; /* [n] */
  double* own;
  int64_t own_stride;
} sb_observation;

/* The n entries of one head at a round, ascending in place. What isn't asked for is NULL. */
typedef struct sb_round {
  uint32_t size;
  int32_t layer, head;
  int64_t n;
  int64_t keep;         /* entries that the round leaves; of an adaptive budget the mean */
  int64_t next;         /* place of the next token; next - place[i] queries have seen entry i */
  const int64_t* place; /* [n] */
  const double *sum, *squares, *last, *entry_score; /* [n] */
  /* The weights that query t gave are in row t % rows, which begins at rows + (t % rows) *
   * row_stride; 0 where that was before the entry came. There are row_count rows so far. */
  const double* rows;
  int64_t row_stride, row_count;
  const double* own; /* as in sb_observation */
  int64_t own_stride;
  const double* keys; /* [n, head_dim] */
  int64_t head_dim;
  const double* values; /* [n, value_dim]: where all heads keep the same tokens, of all of them */
  int64_t value_dim;
  /* Of `query_count` queries of each of `group` query heads, before rotation. */
  int64_t query_count, group;
  const double* query_sum;      /* [group, head_dim] */
  const double* query_products; /* [group, head_dim, head_dim] */
  double query_scale;           /* by which the product of a query and a key is multiplied */
  /* What stands at place p is rotated by p * frequencies[c] in its dimensions c and c +
   * n_frequencies, and what is rotated is multiplied by `magnitude`. */
  const double* frequencies;
  int64_t n_frequencies;
  double magnitude;
} sb_round;

/* ---- a policy ---- */

enum { SB_BY_INDEX = 0, SB_BY_SCORE = 1 }; /* sb_policy.kind */
enum {                                     /* sb_policy.flags */
       SB_WEIGHTS = 1,  /* by score: it asks for weights, so that users may choose scope and reduce */
       SB_BY_LAYER = 2, /* by score: all heads of a layer keep the same tokens, unless users say
                           otherwise */
       SB_SHARES = 4,   /* by score: scores are shares of the attention, 0 or more, so that users may
                           combine them with values */
       SB_LAYERS = 8    /* by index: `view` looks at the layer */
};

typedef struct sb_policy {
  uint32_t size; /* sizeof(sb_policy) */
  uint32_t kind;
  uint32_t flags;
  const char *name, *summary, *source; /* letters, digits and '_'; one line; whose idea it is */
  const sb_parameter* parameters;      /* its own, beside those of all policies by score */
  int32_t n_parameters;

  /* A policy of these arguments, which is never changed again; NULL where there is none, with the
   * reason in `error`. What it returns is `self` below. May be NULL: `self` is then NULL. */
  void* (*make)(const sb_cache* cache, const sb_argument* const* arguments, char* error,
                size_t room);
  void (*destroy)(void* self); /* may be NULL */

  /* By index: the earlier tokens that query t sees in a layer, as ascending, disjoint ranges
   * begin, end, begin, end ... What has left never comes back: what t + 1 sees is a part of what t
   * saw, and t. Writes no more than `room` ranges and returns how many there are; asked again with
   * more room where that is more. */
  int64_t (*view)(const void* self, int32_t layer, int64_t t, int64_t* ranges, int64_t room);
  /* By index: the most earlier tokens that any query sees; -1: it grows with the stream. */
  int64_t (*capacity)(const void* self);
  /* By index: a short label for tables, such as "4+252". */
  void (*label)(const void* self, char* text, size_t room);

  /* By score: what it needs. `needs` comes with nothing asked for. */
  void (*needs)(const void* self, sb_needs* needs);
  /* The score of each entry: [n], the highest stay. Depends on nothing but its arguments. Returns
   * 0; else it has failed, and so does what is measured. */
  int32_t (*score)(const void* self, const sb_round* round, double* scores);
  double (*enter)(const void* self, const sb_entry* entry);         /* if needs.entry_score */
  void (*observe)(const void* self, const sb_observation* seen);    /* if needs.own > 0 */
} sb_policy;

typedef struct sb_plugin {
  uint32_t size;                    /* sizeof(sb_plugin) */
  uint32_t abi;                     /* SINKBENCH_POLICY_ABI */
  const char* version;              /* of the plug-in, which stands in results */
  const sb_policy* const* policies; /* [n_policies] */
  int32_t n_policies;
} sb_plugin;

/* The one function that a plug-in exports. */
SINKBENCH_EXPORT const sb_plugin* sinkbench_policies_v1(void);

#ifdef __cplusplus
}
#endif

#endif
