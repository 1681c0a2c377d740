/* Cases as arrays, for programs without files; `refnn export --to c-header` writes the tables, which begin with this.
   FORMAT.md says what they mean. Patterns of 4 bytes are uint32_t, those of 8 are uint64_t; memcpy makes numbers of
   them. What is not there is NULL. */

#ifndef REFNN_FIXTURES_H
#define REFNN_FIXTURES_H

#include <stdint.h>

typedef struct {
    const char *name; /* of an input, of a parameter that is an array, or "gy": the cotangent of y */
    int rank;
    const long *shape;
    long size;        /* the product of the shape */
    int width;        /* bytes of an element */
    int integer;      /* 1 for int64_t */
    const void *bits;
} refnn_tensor;

/* A claim about the elements `at` of a result, or about all of it, in order. kind: 0 the main one, 1 special,
   2 convention, 3 class of algorithms, with its name. */
typedef struct {
    int kind;
    const char *name;
    long size;
    const long *at;
    const char *letters;
    const uint64_t *hi, *lo, *bound;
    const uint32_t *first, *last; /* in float32: the first and the last float that it accepts, if first <= last */
} refnn_claim;

/* Elements whose sum is hi + lo within bound. */
typedef struct {
    long size;
    const long *at;
    uint64_t hi, lo, bound;
} refnn_group;

typedef struct {
    const char *name; /* "y", "d/x", ... */
    int claims;       /* the first is the main one, the others are alternatives */
    const refnn_claim *claim;
    int groups;
    const refnn_group *group;
} refnn_result;

typedef struct {
    const char *id, *op, *dtype;
    const char *attrs; /* "axis=-1 keepdims=false", as in text lines */
    int inputs;
    const refnn_tensor *input;
    int results;
    const refnn_result *result;
} refnn_case;

#endif
