/* The layers of a small network, for one sample, as loops over arrays that the caller owns.

   refnn/storage.py is the same program in Python. The names are those of challa2023, in brackets stand its equations,
   corrected where derivations/ERRATA.md says so. j is a node or a channel of a layer, i one of the layer before, q a
   place along a channel, c a tap:

       B[j]                        bias
       W[j][i]      fw[j][i][c]    weight from i, the source's w_ij and fw_ijc
       X[j]         fx[j][q]       output of the activation
       dLa[j]       dFLa[j][q]     dl/da, a being what the activation is applied to: its derivative is included
       dW[j][i]     dW[j][i][c]    dl/dw, summed over the samples of a batch
       dB[j]                       dl/db, likewise

   `real` is float, or double with -DDOUBLE. Do not compile with -ffast-math. */

#ifndef LAYERS_H
#define LAYERS_H

#include <math.h>

#ifdef DOUBLE
typedef double real;
#define EXP exp
#define LOG log
#else
typedef float real;
#define EXP expf
#define LOG logf
#endif

/* --- dense: I nodes before, J here ------------------------------------------------------------------------------- */

/* a_j = b_j + sum_i w_ji x_i                                                                                    (8) */
static inline void dense_forward(int I, int J, real W[J][I], const real B[J], const real x[I], real a[J])
{
    for (int j = 0; j < J; j++) {
        a[j] = B[j];
        for (int i = 0; i < I; i++)
            a[j] += W[j][i] * x[i];
    }
}

/* dl/dx_i = sum_j dLa_j w_ji, for the layer before                                                             (23) */
static inline void dense_below(int I, int J, real W[J][I], const real dLa[J], real dx[I])
{
    for (int i = 0; i < I; i++) {
        dx[i] = 0;
        for (int j = 0; j < J; j++)
            dx[i] += dLa[j] * W[j][i];
    }
}

/* dW_ji += dLa_j x_i, dB_j += dLa_j                                                                      (26), (27) */
static inline void dense_gradient(int I, int J, const real dLa[J], const real x[I], real dW[J][I], real dB[J])
{
    for (int j = 0; j < J; j++) {
        dB[j] += dLa[j];
        for (int i = 0; i < I; i++)
            dW[j][i] += dLa[j] * x[i];
    }
}

/* --- convolution, that is cross-correlation ---------------------------------------------------------------------- */

/* I channels of length L before, J channels of length Q here, FS taps. Tap c of output q lies on u = s q + d c - p of
   the channel before, which is 0 outside: stride s, dilation d, p cells of padding before it. */
typedef struct {
    int I, L, J, Q, FS, s, d, p;
} conv_shape;

/* fa_jq = b_j + sum_i sum_c fw_jic fx_iu                                                                       (32) */
static inline void conv_forward(conv_shape n, real fw[n.J][n.I][n.FS], const real B[n.J], real fx[n.I][n.L],
                                real fa[n.J][n.Q])
{
    for (int j = 0; j < n.J; j++)
        for (int q = 0; q < n.Q; q++) {
            fa[j][q] = B[j];
            for (int i = 0; i < n.I; i++)
                for (int c = 0; c < n.FS; c++) {
                    int u = n.s * q + n.d * c - n.p;
                    if (u >= 0 && u < n.L)
                        fa[j][q] += fw[j][i][c] * fx[i][u];
                }
        }
}

/* dl/dfx_iu = sum_j sum_c dFLa_jq fw_jic over the q with s q + d c - p = u, for the layer before               (40) */
static inline void conv_below(conv_shape n, real fw[n.J][n.I][n.FS], real dFLa[n.J][n.Q], real dfx[n.I][n.L])
{
    for (int i = 0; i < n.I; i++)
        for (int u = 0; u < n.L; u++) {
            dfx[i][u] = 0;
            for (int j = 0; j < n.J; j++)
                for (int c = 0; c < n.FS; c++) {
                    int sq = u + n.p - n.d * c;
                    if (sq >= 0 && sq % n.s == 0 && sq / n.s < n.Q)
                        dfx[i][u] += dFLa[j][sq / n.s] * fw[j][i][c];
                }
        }
}

/* dW_jic += sum_q dFLa_jq fx_iu, dB_j += sum_q dFLa_jq                                                   (41), (43) */
static inline void conv_gradient(conv_shape n, real dFLa[n.J][n.Q], real fx[n.I][n.L], real dW[n.J][n.I][n.FS],
                                 real dB[n.J])
{
    for (int j = 0; j < n.J; j++)
        for (int q = 0; q < n.Q; q++) {
            dB[j] += dFLa[j][q];
            for (int i = 0; i < n.I; i++)
                for (int c = 0; c < n.FS; c++) {
                    int u = n.s * q + n.d * c - n.p;
                    if (u >= 0 && u < n.L)
                        dW[j][i][c] += dFLa[j][q] * fx[i][u];
                }
        }
}

/* --- activations ------------------------------------------------------------------------------------------------- */

/* x_j = max(0, a_j) in the place of a; NaN stays NaN                                                           (21) */
static inline void relu(int J, real x[J])
{
    for (int j = 0; j < J; j++)
        x[j] = x[j] <= 0 ? 0 : x[j];
}

/* dLa_j = dl/dx_j (0 or 1)_j in the place of dl/dx, from the x that is stored                                  (22) */
static inline void relu_below(int J, const real x[J], real dLa[J])
{
    for (int j = 0; j < J; j++)
        if (x[j] <= 0)
            dLa[j] = 0;
}

/* y_j = e^(a_j - m) / sum_j' e^(a_j' - m) with m = max a, which is (4), but does not overflow; y may be a       (4) */
static inline void softmax(int J, const real a[J], real y[J])
{
    real m = a[0], sum = 0;
    for (int j = 1; j < J; j++)
        m = a[j] > m ? a[j] : m;
    for (int j = 0; j < J; j++) {
        y[j] = EXP(a[j] - m);
        sum += y[j];
    }
    for (int j = 0; j < J; j++)
        y[j] /= sum;
}

/* dl/da_j = y_j (dl/dy_j - sum_j' y_j' dl/dy_j')                                                                (5) */
static inline void softmax_below(int J, const real y[J], const real dy[J], real da[J])
{
    real sum = 0;
    for (int j = 0; j < J; j++)
        sum += y[j] * dy[j];
    for (int j = 0; j < J; j++)
        da[j] = y[j] * (dy[j] - sum);
}

/* z_j = log y_j = (a_j - m) - log sum_j' e^(a_j' - m): a number where y_j has become 0; z may be a */
static inline void log_softmax(int J, const real a[J], real z[J])
{
    real m = a[0], sum = 0;
    for (int j = 1; j < J; j++)
        m = a[j] > m ? a[j] : m;
    for (int j = 0; j < J; j++) {
        z[j] = a[j] - m;
        sum += EXP(z[j]);
    }
    sum = LOG(sum);
    for (int j = 0; j < J; j++)
        z[j] -= sum;
}

/* dl/da_j = dl/dz_j - y_j sum_j' dl/dz_j' */
static inline void log_softmax_below(int J, const real z[J], const real dz[J], real da[J])
{
    real sum = 0;
    for (int j = 0; j < J; j++)
        sum += dz[j];
    for (int j = 0; j < J; j++)
        da[j] = dz[j] - EXP(z[j]) * sum;
}

/* --- loss -------------------------------------------------------------------------------------------------------- */

/* l = - sum_j t_j z_j for the z_j = log y_j of a sample, with 0 log 0 = 0                                       (2) */
static inline real cross_entropy(int M, const real z[M], const real t[M])
{
    real l = 0;
    for (int j = 0; j < M; j++)
        l -= t[j] == 0 && z[j] < 0 ? 0 : t[j] * z[j];
    return l;
}

/* dLa_j = y_j sum_j' t_j' - t_j, which is y_j - t_j where the targets sum to one                        (16), (18) */
static inline void delta(int M, const real y[M], const real t[M], real dLa[M])
{
    real sum = 0;
    for (int j = 0; j < M; j++)
        sum += t[j];
    for (int j = 0; j < M; j++)
        dLa[j] = y[j] * sum - t[j];
}

#endif
