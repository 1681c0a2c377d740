/* The comparison rule of conformance/FORMAT.md in C: for programs that read the fixture files, and for boards without
   files, which hold cases as arrays (refnn export --to c-header).

   C99; nothing is allocated, nothing is printed. Do not compile with -ffast-math or the like, which lets a compiler
   drop comparisons with NaN. */

#ifndef REFNN_VERIFY_H
#define REFNN_VERIFY_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "refnn_fixtures.h"

/* --- bit patterns (section 2) ------------------------------------------------------------------------------------ */

static inline float refnn_float32(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t refnn_bits32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

#if DBL_MANT_DIG == 53 /* on some boards a double is a float */
static inline double refnn_float64(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t refnn_bits64(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
#endif

/* Reads so many hexadecimal digits (at most 16), the most significant first. Whether they are digits. */
static inline int refnn_hex(const char *text, int digits, uint64_t *bits)
{
    *bits = 0;
    for (int i = 0; i < digits; i++) {
        const char *all = "0123456789abcdefABCDEF", *digit = text[i] ? strchr(all, text[i]) : NULL;
        if (!digit)
            return 0;
        *bits = *bits << 4 | (uint64_t)(digit - all - (digit - all > 15 ? 6 : 0));
    }
    return 1;
}

/* --- the rule (section 5) ---------------------------------------------------------------------------------------- */

/* What a letter that asks for no number says of an element; 0 for 'f', 'r' and letters that are none. */
static inline int refnn_is(char letter, double got)
{
    switch (letter) {
    case 'n': return got != got;
    case 'p': return got > DBL_MAX;
    case 'm': return got < -DBL_MAX;
    case 'z': return got == 0 && !signbit(got);
    case 'Z': return got == 0 && signbit(got);
    case '*': return 1;
    default: return 0;
    }
}

/* Whether a claim accepts an element. */
static inline int refnn_accepts(char letter, double hi, double lo, double bound, double got)
{
    switch (letter) {
    case 'f': return fabs((got - hi) - lo) <= bound; /* false for NaN and for infinities */
    case 'r': return got >= fmin(hi, lo) - bound && got <= fmax(hi, lo) + bound;
    default: return refnn_is(letter, got);
    }
}

/* The same of a float: first and last are the outermost floats that the claim accepts. */
static inline int refnn_between(char letter, float first, float last, float got)
{
    return letter == 'f' || letter == 'r' ? got >= first && got <= last : refnn_is(letter, got);
}

/* --- cases as arrays (refnn_fixtures.h) -------------------------------------------------------------------------- */

/* How many elements and groups of a result fail, and where the first one is. `explained` counts those that only another
   class of algorithms accepts, one of which is called `by`: they do not pass either, unless whoever runs the suite said
   beforehand that this class is meant. */
typedef struct {
    long failed, at, explained;
    const char *by;
} refnn_outcome;

/* Whether a claim accepts its element k, a float or a double of so many bytes. Floats are judged without doubles. */
static inline int refnn_claimed(const refnn_claim *c, long k, int width, const void *got)
{
    if (width == sizeof(float) && c->first) {
        float value;
        memcpy(&value, got, sizeof value);
        return refnn_between(c->letters[k], refnn_float32(c->first[k]), refnn_float32(c->last[k]), value);
    }
#if DBL_MANT_DIG == 53
    if (width == sizeof(double) && !c->first) {
        double value;
        memcpy(&value, got, sizeof value);
        return refnn_accepts(c->letters[k], refnn_float64(c->hi[k]), refnn_float64(c->lo[k]),
                             refnn_float64(c->bound[k]), value);
    }
#endif
    return 0; /* the table is for another format */
}

#if DBL_MANT_DIG == 53
static inline int refnn_shared(const refnn_group *g, int width, const char *got)
{
    double sum = 0;
    for (long k = 0; k < g->size; k++)
        if (width == sizeof(float)) {
            float value;
            memcpy(&value, got + g->at[k] * width, sizeof value);
            sum += (double)value;
        } else {
            double value;
            memcpy(&value, got + g->at[k] * width, sizeof value);
            sum += value;
        }
    return refnn_accepts('f', refnn_float64(g->hi), refnn_float64(g->lo), refnn_float64(g->bound), sum);
}
#endif

/* Judges a result of so many floats or doubles. It passes if nothing failed and nothing was explained; with another
   number of elements all of it fails. Groups are left out where a double is a float. */
static inline refnn_outcome refnn_check(const refnn_result *r, const void *got, int width, long size)
{
    refnn_outcome o = {0, 0, 0, NULL};
    if (size != r->claim->size) {
        o.failed = r->claim->size + 1;
        return o;
    }
    for (long i = 0; i < size; i++) {
        const void *element = (const char *)got + i * width;
        const char *by = NULL;
        int passes = refnn_claimed(r->claim, i, width, element);
        for (const refnn_claim *c = r->claim + 1; c < r->claim + r->claims && !passes; c++)
            for (long k = 0; k < c->size; k++)
                if (c->at[k] == i && refnn_claimed(c, k, width, element)) {
                    passes |= c->kind != 3;
                    by = c->name;
                }
        if (!passes && by) {
            o.explained++;
            o.by = by;
        } else if (!passes && !o.failed++)
            o.at = i;
    }
#if DBL_MANT_DIG == 53
    for (int g = 0; g < r->groups; g++)
        if (!refnn_shared(&r->group[g], width, got) && !o.failed++)
            o.at = r->group[g].at[0];
#endif
    return o;
}

/* The input of that name; NULL if there is none. */
static inline const refnn_tensor *refnn_input(const refnn_case *c, const char *name)
{
    for (int i = 0; i < c->inputs; i++)
        if (!strcmp(c->input[i].name, name))
            return &c->input[i];
    return NULL;
}

/* What is expected of the result of that name; NULL if nothing is. */
static inline const refnn_result *refnn_wanted(const refnn_case *c, const char *name)
{
    for (int i = 0; i < c->results; i++)
        if (!strcmp(c->result[i].name, name))
            return &c->result[i];
    return NULL;
}

#endif
