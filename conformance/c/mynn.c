/* The layers of layers.h under the suite's eyes: answers the text lines of conformance/FORMAT.md.

       cc -std=c99 -O2 mynn.c -o mynn -lm                     in float; with -DDOUBLE in double
       refnn gen '*' --lines --dtype float32 | ./mynn | refnn verify -

   Put your own functions in the place of those of layers.h. What is not here is skipped. */

#include "refnn_lines.h"

#include "layers.h"

static const char UNEXPECTED[] = "ERR shapes that do not fit";

static const char *run_linear(refnn_request *r)
{
    refnn_item *x = refnn_get(r, "x"), *weight = refnn_get(r, "weight"), *bias = refnn_get(r, "bias");
    refnn_item *g = refnn_get(r, "gy");
    if (!x || !weight || !g || weight->rank != 2 || !weight->count || x->count % weight->size[1])
        return UNEXPECTED;
    int J = weight->size[0], I = weight->size[1], S = x->count / I;
    if (g->count != S * J || (bias && bias->count != J))
        return UNEXPECTED;
    real(*W)[I] = (real(*)[I])weight->data, *B = bias ? bias->data : refnn_zeros(r, J);
    real *y = refnn_put(r, "y", S * J), *dx = refnn_put(r, "d/x", S * I);
    real(*dW)[I] = (real(*)[I])refnn_put(r, "d/weight", J * I), *dB = refnn_put(r, "d/bias", J);
    for (int k = 0; k < S; k++) {
        dense_forward(I, J, W, B, x->data + k * I, y + k * J);
        dense_below(I, J, W, g->data + k * J, dx + k * I);
        dense_gradient(I, J, g->data + k * J, x->data + k * I, dW, dB);
    }
    return NULL;
}

/* padding=1, [1], [[2,1]], valid, same or full: the cells before and after a channel. */
static void padding(refnn_request *r, int reach, int *before, int *after)
{
    const char *value = refnn_value(r, "padding");
    char *end;
    value += strspn(value, "[");
    *before = *after = (int)strtol(value, &end, 10);
    if (*end == ',')
        *after = (int)strtol(end + 1, NULL, 10);
    if (!strcmp(value, "full"))
        *before = *after = reach;
    if (!strcmp(value, "same"))
        *before = reach / 2, *after = reach - reach / 2;
}

static const char *run_conv1d(refnn_request *r)
{
    refnn_item *x = refnn_get(r, "x"), *weight = refnn_get(r, "weight"), *bias = refnn_get(r, "bias");
    refnn_item *g = refnn_get(r, "gy");
    if (!x || !weight || !g || weight->rank != 3 || !weight->count || x->rank < 2 || x->rank > 3 || g->rank != x->rank)
        return UNEXPECTED;
    int groups = refnn_integer(r, "groups"), last = x->rank - 1, after;
    conv_shape n = {.I = weight->size[1], .L = x->size[last], .Q = g->size[last], .FS = weight->size[2]};
    n.s = refnn_integer(r, "stride"), n.d = refnn_integer(r, "dilation");
    if (n.s < 1 || n.d < 1 || n.d > REFNN_LINE / n.FS || groups < 1 || weight->size[0] % groups)
        return UNEXPECTED;
    int reach = n.d * (n.FS - 1);
    padding(r, reach, &n.p, &after);
    n.J = weight->size[0] / groups;
    if (n.L < 1 || n.p < 0 || n.p > REFNN_LINE || after < 0 || after > REFNN_LINE || reach >= n.L + n.p + after ||
        n.Q != (n.L + n.p + after - reach - 1) / n.s + 1 || x->size[last - 1] != n.I * groups ||
        g->size[last - 1] != n.J * groups || (bias && bias->count != n.J * groups))
        return UNEXPECTED;
    int in = n.I * n.L, out = n.J * n.Q, taps = n.J * n.I * n.FS, S = x->count / (in * groups);
    if (g->count != S * out * groups)
        return UNEXPECTED;
    real *B = bias ? bias->data : refnn_zeros(r, n.J * groups);
    real *y = refnn_put(r, "y", g->count), *dx = refnn_put(r, "d/x", x->count);
    real *dW = refnn_put(r, "d/weight", weight->count), *dB = refnn_put(r, "d/bias", n.J * groups);
    for (int k = 0; k < S * groups; k++) {
        int group = k % groups;
        real(*fw)[n.I][n.FS] = (real(*)[n.I][n.FS])(weight->data + group * taps);
        real(*fx)[n.L] = (real(*)[n.L])(x->data + k * in), (*dfx)[n.L] = (real(*)[n.L])(dx + k * in);
        real(*fa)[n.Q] = (real(*)[n.Q])(y + k * out), (*dFLa)[n.Q] = (real(*)[n.Q])(g->data + k * out);
        conv_forward(n, fw, B + group * n.J, fx, fa);
        conv_below(n, fw, dFLa, dfx);
        conv_gradient(n, dFLa, fx, (real(*)[n.I][n.FS])(dW + group * taps), dB + group * n.J);
    }
    return NULL;
}

static const char *run_relu(refnn_request *r)
{
    refnn_item *x = refnn_get(r, "x"), *g = refnn_get(r, "gy");
    if (!x || !g || g->count != x->count)
        return UNEXPECTED;
    real *y = refnn_put(r, "y", x->count), *dx = refnn_put(r, "d/x", x->count);
    memcpy(y, x->data, (size_t)x->count * sizeof *y);
    memcpy(dx, g->data, (size_t)x->count * sizeof *dx);
    relu(x->count, y);
    relu_below(x->count, y, dx);
    return NULL;
}

static const char *run_flatten(refnn_request *r)
{
    refnn_item *x = refnn_get(r, "x"), *g = refnn_get(r, "gy");
    if (!x || !g || g->count != x->count)
        return UNEXPECTED;
    memcpy(refnn_put(r, "y", x->count), x->data, (size_t)x->count * sizeof(real));
    memcpy(refnn_put(r, "d/x", x->count), g->data, (size_t)x->count * sizeof(real));
    return NULL;
}

/* Element j of row k along an axis with `inner` elements behind it is at place(k, inner, J) + j * inner. */
static int place(int k, int inner, int J)
{
    return k / inner * J * inner + k % inner;
}

static void gather(int J, int step, const real *from, real *row)
{
    for (int j = 0; j < J; j++)
        row[j] = from[j * step];
}

static void scatter(int J, int step, const real *row, real *to)
{
    for (int j = 0; j < J; j++)
        to[j * step] = row[j];
}

/* softmax or log_softmax, row by row. */
static const char *along(refnn_request *r, void (*forward)(int, const real *, real *),
                         void (*below)(int, const real *, const real *, real *))
{
    refnn_item *x = refnn_get(r, "x"), *g = refnn_get(r, "gy");
    int axis = refnn_integer(r, "axis"), inner = 1;
    if (!x || !g || g->count != x->count || axis >= x->rank || axis < -x->rank)
        return UNEXPECTED;
    axis += axis < 0 ? x->rank : 0;
    for (int i = axis + 1; i < x->rank; i++)
        inner *= x->size[i];
    int J = x->size[axis];
    real *y = refnn_put(r, "y", x->count), *dx = refnn_put(r, "d/x", x->count);
    real *row = refnn_zeros(r, J), *out = refnn_zeros(r, J), *up = refnn_zeros(r, J);
    for (int k = 0; k < (x->count ? x->count / J : 0); k++) {
        int at = place(k, inner, J);
        gather(J, inner, x->data + at, row);
        gather(J, inner, g->data + at, up);
        forward(J, row, out);
        below(J, out, up, row);
        scatter(J, inner, out, y + at);
        scatter(J, inner, row, dx + at);
    }
    return NULL;
}

static const char *run_softmax(refnn_request *r)
{
    return along(r, softmax, softmax_below);
}

static const char *run_log_softmax(refnn_request *r)
{
    return along(r, log_softmax, log_softmax_below);
}

static const char *run_cross_entropy(refnn_request *r)
{
    refnn_item *x = refnn_get(r, "input"), *target = refnn_get(r, "target"), *g = refnn_get(r, "gy");
    const char *reduction = refnn_value(r, "reduction");
    if (refnn_get(r, "weight") || strtod(refnn_value(r, "label_smoothing"), NULL) != 0)
        return "SKIP no cross_entropy with weight or label_smoothing";
    if (!x || !target || !g || !x->rank || !x->count)
        return UNEXPECTED;
    int axis = x->rank > 1, M = x->size[axis], samples = x->count / M, inner = 1, counted = 0;
    int none = !strcmp(reduction, "none"), ignored = refnn_integer(r, "ignore_index");
    if (target->count != (target->index ? samples : x->count) || g->count != (none ? samples : 1))
        return UNEXPECTED;
    for (int i = axis + 1; i < x->rank; i++)
        inner *= x->size[i];
    for (int k = 0; k < samples; k++)
        counted += !target->index || target->index[k] != ignored;
    real over = strcmp(reduction, "mean") ? 1 : (real)counted;
    real *y = refnn_put(r, "y", g->count), *dx = refnn_put(r, "d/input", x->count);
    real *dt = target->index ? NULL : refnn_put(r, "d/target", x->count);
    real *a = refnn_zeros(r, M), *t = refnn_zeros(r, M), *z = refnn_zeros(r, M);
    for (int k = 0; k < samples; k++) {
        int at = place(k, inner, M);
        real gk = g->data[none ? k : 0];
        if (target->index && target->index[k] == ignored)
            continue;
        if (target->index)
            for (int j = 0; j < M; j++)
                t[j] = j == target->index[k];
        else
            gather(M, inner, target->data + at, t);
        gather(M, inner, x->data + at, a);
        log_softmax(M, a, z);
        y[none ? k : 0] += cross_entropy(M, z, t);
        softmax(M, a, a);
        delta(M, a, t, a);
        for (int j = 0; j < M; j++) {
            dx[at + j * inner] = a[j] * gk / over;
            if (dt)
                dt[at + j * inner] = -z[j] * gk / over;
        }
    }
    if (!none)
        *y /= over;
    return NULL;
}

int main(void)
{
    static const refnn_op ops[] = {
        {"linear", run_linear},   {"conv1d", run_conv1d},           {"relu", run_relu},
        {"flatten", run_flatten}, {"softmax", run_softmax},         {"log_softmax", run_log_softmax},
        {"cross_entropy", run_cross_entropy},
    };
    return refnn_serve(ops, sizeof ops / sizeof *ops);
}
