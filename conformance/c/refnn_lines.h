/* Answers the text lines of conformance/FORMAT.md, section 6, on standard input and output: one case a line.

       refnn gen 'softmax' --lines --dtype float32 | ./mynn | refnn verify -

   C99; nothing is allocated. A program has a table of ops, each a function that reads the tensors of a request and
   fills its results, and calls refnn_serve. It computes in `real`: float, or double with -DDOUBLE. */

#ifndef REFNN_LINES_H
#define REFNN_LINES_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "refnn_verify.h"

/* The longest line that is read, with its end. It holds less than REFNN_LINE / 8 numbers, and results have the sizes of
   tensors of the request: all of them, and as many numbers to work on, find room in REFNN_ROOM. */
#ifndef REFNN_LINE
#define REFNN_LINE 32768
#endif
#define REFNN_ROOM (REFNN_LINE / 2)
#define REFNN_ITEMS 32
#define REFNN_RANK 8

#ifdef DOUBLE
typedef double refnn_real;
#define REFNN_DTYPE "float64"
#define REFNN_DIGITS 16
#define refnn_number refnn_float64
#define refnn_bits refnn_bits64
#else
typedef float refnn_real;
#define REFNN_DTYPE "float32"
#define REFNN_DIGITS 8
#define refnn_number(bits) refnn_float32((uint32_t)(bits))
#define refnn_bits refnn_bits32
#endif

/* A parameter (value, as it was written), a tensor of numbers (data) or one of integers (index), or a result. */
typedef struct {
    const char *name, *value;
    int rank, size[REFNN_RANK], count;
    refnn_real *data;
    const int64_t *index;
} refnn_item;

typedef struct {
    char *id, *op, *wants;
    int items, used, integers;
    refnn_item item[REFNN_ITEMS];
    refnn_real room[REFNN_ROOM];
    int64_t integer[REFNN_LINE / 16];
} refnn_request;

/* An op fills its results and returns NULL; or "SKIP reason" for what it does not support, "ERR reason" for what
   failed. */
typedef struct {
    const char *name;
    const char *(*run)(refnn_request *);
} refnn_op;

/* --- for ops ----------------------------------------------------------------------------------------------------- */

static inline refnn_item *refnn_find(refnn_request *r, const char *name)
{
    for (int i = 0; i < r->items; i++)
        if (!strcmp(r->item[i].name, name))
            return &r->item[i];
    return NULL;
}

/* A tensor of the request; NULL if it is not there, or is null. */
static inline refnn_item *refnn_get(refnn_request *r, const char *name)
{
    refnn_item *item = refnn_find(r, name);
    return item && !item->value ? item : NULL;
}

/* A parameter as it was written; "null" if it is not there. */
static inline const char *refnn_value(refnn_request *r, const char *name)
{
    refnn_item *item = refnn_find(r, name);
    return item && item->value ? item->value : "null";
}

/* A parameter that is an integer, or a list of one. */
static inline int refnn_integer(refnn_request *r, const char *name)
{
    const char *value = refnn_value(r, name);
    return (int)strtol(value + strspn(value, "["), NULL, 10);
}

/* Zeros to work on, or for a result. There is always room: see REFNN_ROOM. */
static inline refnn_real *refnn_zeros(refnn_request *r, int count)
{
    refnn_real *data = r->room + r->used;
    if (count < 0 || count > REFNN_ROOM - r->used)
        abort();
    for (int i = 0; i < count; i++)
        data[i] = 0;
    r->used += count;
    return data;
}

/* A result, "y" or "d/NAME", in which an op stores `count` numbers. */
static inline refnn_real *refnn_put(refnn_request *r, const char *name, int count)
{
    refnn_item *item = &r->item[r->items++];
    *item = (refnn_item){.name = name, .count = count, .data = refnn_zeros(r, count)};
    return item->data;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* What follows the next blanks, ended where the word ends; NULL if there is none. */
static inline char *refnn_word(char **text)
{
    char *word = *text + strspn(*text, " ");
    if (!*word)
        return NULL;
    *text = word + strcspn(word, " ");
    if (**text)
        *(*text)++ = 0;
    return word;
}

/* name[2,3]=3f80... or name[2]:int64=..., cut at the bracket; NULL, or what is wrong. */
static inline const char *refnn_read_tensor(refnn_request *r, refnn_item *item, char *shape)
{
    long most = 1; /* the product of the sizes that are not 0: no product of some of them overflows */
    item->count = 1;
    while (*shape != ']') {
        long size = strtol(shape, &shape, 10);
        if (item->rank == REFNN_RANK || size < 0 || size > REFNN_LINE || (*shape != ',' && *shape != ']'))
            return "SKIP a shape that is none, or too large";
        most *= size ? size : 1;
        if (most > REFNN_LINE)
            return "SKIP a tensor that is too large";
        item->size[item->rank++] = (int)size;
        item->count *= (int)size;
        shape += *shape == ',';
    }
    int integers = !strncmp(shape, "]:int64=", 8), digits = integers ? 16 : REFNN_DIGITS;
    if (!integers && strncmp(shape, "]=", 2))
        return "ERR a tensor without =";
    const char *hex = shape + (integers ? 8 : 2);
    if (strlen(hex) != (size_t)item->count * (size_t)digits)
        return "ERR a tensor with another number of digits than its shape has";
    if (integers)
        item->index = r->integer + r->integers;
    else
        item->data = refnn_zeros(r, item->count);
    for (int i = 0; i < item->count; i++) {
        uint64_t bits;
        if (!refnn_hex(hex + i * digits, digits, &bits))
            return "ERR a tensor with a digit that is none";
        if (integers)
            memcpy(&r->integer[r->integers++], &bits, sizeof bits);
        else
            item->data[i] = refnn_number(bits);
    }
    return NULL;
}

/* The rest of a request, after its id; NULL, or what is wrong. The line is cut into its words. */
static inline const char *refnn_read(refnn_request *r, char *line)
{
    char *word, *dtype;
    r->items = r->used = r->integers = 0;
    r->op = refnn_word(&line);
    dtype = refnn_word(&line);
    if (!r->op || !dtype)
        return "ERR a line without op or dtype";
    if (strcmp(dtype, REFNN_DTYPE))
        return "SKIP computes in " REFNN_DTYPE " only";
    while ((word = refnn_word(&line)) && *word != '?') {
        size_t name = strcspn(word, "[=");
        char mark = word[name];
        if (!mark || r->items == REFNN_ITEMS / 2) /* the other half is for results */
            return "ERR an item without =, or too many";
        refnn_item *item = &r->item[r->items++];
        *item = (refnn_item){.name = word};
        word[name] = 0;
        if (mark == '=')
            item->value = word + name + 1;
        else {
            const char *wrong = refnn_read_tensor(r, item, word + name + 1);
            if (wrong)
                return wrong;
        }
    }
    if (!word)
        return "ERR a line without ?";
    r->wants = word + 1;
    return NULL;
}

/* --- answering --------------------------------------------------------------------------------------------------- */

static inline void refnn_print(refnn_request *r)
{
    int results = 0;
    fputs(r->id, stdout);
    for (char *want = strtok(r->wants, ","); want; want = strtok(NULL, ",")) {
        refnn_item *result = refnn_find(r, want);
        if (!result || !result->data)
            continue; /* what was not answered has failed: the other side says so */
        results++;
        printf(" %s=", want);
        for (int i = 0; i < result->count; i++) {
            uint64_t bits = refnn_bits(result->data[i]);
            for (int shift = 4 * REFNN_DIGITS - 4; shift >= 0; shift -= 4)
                putchar("0123456789abcdef"[bits >> shift & 15]);
        }
    }
    puts(results ? "" : " SKIP nothing that is wanted is here");
}

/* Answers a line, which is cut into words. Comments are handed on. */
static inline void refnn_answer(refnn_request *r, char *line, const refnn_op *ops, int count)
{
    const char *wrong = NULL;
    if (*line == '#') {
        puts(line);
        return;
    }
    r->id = refnn_word(&line);
    if (!r->id)
        return;
    if (!(wrong = refnn_read(r, line))) {
        wrong = "SKIP no such op here";
        for (int i = 0; i < count; i++)
            if (!strcmp(r->op, ops[i].name))
                wrong = ops[i].run(r);
    }
    if (wrong)
        printf("%s %s\n", r->id, wrong);
    else
        refnn_print(r);
}

/* Answers standard input to its end; what main returns. */
static inline int refnn_serve(const refnn_op *ops, int count)
{
    static char line[REFNN_LINE];
    static refnn_request request;
    int c = 0;
    while (c != EOF) {
        int length = 0;
        while ((c = getchar()) != EOF && c != '\n') {
            if (length < REFNN_LINE - 1)
                line[length] = (char)c;
            length += length < REFNN_LINE;
        }
        if (length == REFNN_LINE) {
            line[REFNN_LINE - 1] = 0;
            printf("%.*s SKIP the line has more than %d bytes\n", (int)strcspn(line, " "), line, REFNN_LINE - 1);
        } else {
            line[length - (length && line[length - 1] == '\r')] = 0;
            refnn_answer(&request, line, ops, count);
        }
        fflush(stdout);
    }
    return ferror(stdin) || ferror(stdout);
}

#endif
