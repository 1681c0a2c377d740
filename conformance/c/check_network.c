/* Checks the network of network.h as on a board, without files and without a host: network_case.h holds a batch,
   weights, and what is accepted of the loss and of every gradient, in the form of refnn export --to c-header.

       cc -std=c99 check_network.c -o check_network -lm && ./check_network

   Exit status: 0 if all of it passes, 2 if something does not. */

#include <stdio.h>

#include "refnn_verify.h"

#include "network.h"
#include "network_case.h"

#define P 0.5f /* the probability of dropout in this case */

static const refnn_case *const given = &refnn_cases[0];

static void load(const char *name, real *to)
{
    const refnn_tensor *from = refnn_input(given, name);
    memcpy(to, from->bits, (size_t)(from->size * from->width));
}

/* Whether a result passes; if not, it says what does not. */
static int passes(const char *name, const real *got, int size)
{
    refnn_outcome o = refnn_check(refnn_wanted(given, name), got, sizeof *got, size);
    if (o.failed)
        printf("%s: %ld of %d elements fail, the first is [%ld] = %.9g\n", name, o.failed, size, o.at,
               (double)got[o.at]);
    if (o.explained)
        printf("%s: %ld of %d elements are accepted of the class '%s' only\n", name, o.explained, size, o.by);
    return !o.failed && !o.explained;
}

int main(void)
{
    static real x[S][J0][Q0], D[S][J4], t[S][M];
    int passed = 0, results = given->results;

    for (int n = 0; n < 2 * (N - 2); n++)
        load(parameters[n].name + 2, parameters[n].value);
    load("x", (real *)x);
    load("mask", (real *)D);
    load("target", (real *)t);
    for (int k = 0; k < S; k++)
        for (int j = 0; j < J4; j++)
            D[k][j] /= 1 - P;

    real loss = batch(x, t, D);

    passed += passes("y", &loss, 1);
    for (int n = 0; n < 2 * (N - 2); n++) {
        for (int i = 0; i < parameters[n].count; i++)
            parameters[n].gradient[i] /= S;
        passed += passes(parameters[n].name, parameters[n].gradient, parameters[n].count);
    }
    printf("%d of %d results pass\n", passed, results);
    return passed == results ? 0 : 2;
}
