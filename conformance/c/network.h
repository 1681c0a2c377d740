/* A small network for a microcontroller: two 1-D convolutions, two dense layers, softmax and cross-entropy, trained by
   backpropagation. All memory is static. layers.h says what the names mean; refnn/storage.py is the same program in
   Python.

   Layer n has J<n> nodes, or J<n> channels of length Q<n>. */

#ifndef NETWORK_H
#define NETWORK_H

#include "layers.h"

#define N 6               /* layers: sample, two convolutions, flatten, two dense ones */
#define S 4               /* samples in a batch */
#define J0 2              /* channels of a sample */
#define Q0 8              /* their length */
#define J1 3
#define FS1 3             /* taps of a filter: stride 1, no padding */
#define Q1 (Q0 - FS1 + 1)
#define J2 2
#define FS2 2
#define Q2 (Q1 - FS2 + 1)
#define J3 (J2 * Q2)
#define J4 5
#define M 3               /* classes */

static const conv_shape shape1 = {.I = J0, .L = Q0, .J = J1, .Q = Q1, .FS = FS1, .s = 1, .d = 1, .p = 0};
static const conv_shape shape2 = {.I = J1, .L = Q1, .J = J2, .Q = Q2, .FS = FS2, .s = 1, .d = 1, .p = 0};

/* What a node stores. The output of the last layer is X = y, and z = log y. */
static struct {
    real B[J1], fw[J1][J0][FS1], fx[J1][Q1], dFLa[J1][Q1], dW[J1][J0][FS1], dB[J1];
} conv1;
static struct {
    real B[J2], fw[J2][J1][FS2], fx[J2][Q2], dFLa[J2][Q2], dW[J2][J1][FS2], dB[J2];
} conv2;
static struct {
    real X[J3], dLa[J3];
} flat;
static struct {
    real B[J4], W[J4][J3], X[J4], dLa[J4], dW[J4][J3], dB[J4], D[J4];
} fc1;
static struct {
    real B[M], W[M][J4], X[M], z[M], dLa[M], dW[M][J4], dB[M];
} fc2;

/* What is learned: weights and biases of all layers but the sample and flatten, and their gradients, by the names of
   these. */
static const struct {
    const char *name;
    real *value, *gradient;
    int count;
} parameters[2 * (N - 2)] = {
    {"d/conv1.weight", (real *)conv1.fw, (real *)conv1.dW, J1 * J0 * FS1},
    {"d/conv1.bias", conv1.B, conv1.dB, J1},
    {"d/conv2.weight", (real *)conv2.fw, (real *)conv2.dW, J2 * J1 * FS2},
    {"d/conv2.bias", conv2.B, conv2.dB, J2},
    {"d/fc1.weight", (real *)fc1.W, (real *)fc1.dW, J4 * J3},
    {"d/fc1.bias", fc1.B, fc1.dB, J4},
    {"d/fc2.weight", (real *)fc2.W, (real *)fc2.dW, M * J4},
    {"d/fc2.bias", fc2.B, fc2.dB, M},
};

/* Takes a sample through the layers. D[j] is 0 where dropout drops a node, and 1 / (1 - p) where it does not. */
static inline void forward(real x[J0][Q0], const real D[J4])
{
    conv_forward(shape1, conv1.fw, conv1.B, x, conv1.fx);
    for (int j = 0; j < J1; j++)
        relu(Q1, conv1.fx[j]);
    conv_forward(shape2, conv2.fw, conv2.B, conv1.fx, conv2.fx);
    for (int j = 0; j < J2; j++)
        relu(Q2, conv2.fx[j]);
    for (int j = 0; j < J2; j++)
        for (int q = 0; q < Q2; q++)
            flat.X[Q2 * j + q] = conv2.fx[j][q];
    dense_forward(J3, J4, fc1.W, fc1.B, flat.X, fc1.X);
    relu(J4, fc1.X);
    for (int j = 0; j < J4; j++) {
        fc1.D[j] = D[j];
        fc1.X[j] *= D[j];
    }
    dense_forward(J4, M, fc2.W, fc2.B, fc1.X, fc2.z);
    softmax(M, fc2.z, fc2.X);
    log_softmax(M, fc2.z, fc2.z);
}

/* From dLa of the last layer to that of all others, adding what this sample gives to dW and dB. It reads nothing but
   what is stored, and changes no weight: the layers below need the old ones. */
static inline void backward(real x[J0][Q0], const real t[M])
{
    delta(M, fc2.X, t, fc2.dLa);
    dense_gradient(J4, M, fc2.dLa, fc1.X, fc2.dW, fc2.dB);
    dense_below(J4, M, fc2.W, fc2.dLa, fc1.dLa);
    for (int j = 0; j < J4; j++)
        fc1.dLa[j] *= fc1.D[j];
    relu_below(J4, fc1.X, fc1.dLa);
    dense_gradient(J3, J4, fc1.dLa, flat.X, fc1.dW, fc1.dB);
    dense_below(J3, J4, fc1.W, fc1.dLa, flat.dLa);
    for (int j = 0; j < J2; j++) /* (33); the mask is that of the convolution, and flatten has none */
        for (int q = 0; q < Q2; q++)
            conv2.dFLa[j][q] = flat.dLa[Q2 * j + q];
    for (int j = 0; j < J2; j++)
        relu_below(Q2, conv2.fx[j], conv2.dFLa[j]);
    conv_gradient(shape2, conv2.dFLa, conv1.fx, conv2.dW, conv2.dB);
    conv_below(shape2, conv2.fw, conv2.dFLa, conv1.dFLa);
    for (int j = 0; j < J1; j++)
        relu_below(Q1, conv1.fx[j], conv1.dFLa[j]);
    conv_gradient(shape1, conv1.dFLa, x, conv1.dW, conv1.dB);
}

/* The gradients of a batch, summed, and its mean loss                                                           (1) */
static inline real batch(real x[S][J0][Q0], real t[S][M], real D[S][J4])
{
    real loss = 0;
    for (int n = 0; n < 2 * (N - 2); n++)
        for (int i = 0; i < parameters[n].count; i++)
            parameters[n].gradient[i] = 0;
    for (int k = 0; k < S; k++) {
        forward(x[k], D[k]);
        loss += cross_entropy(M, fc2.z, t[k]);
        backward(x[k], t[k]);
    }
    return loss / S;
}

/* w -= eta dW / S, b -= eta dB / S, now that every gradient is known                                (28), (29), (30) */
static inline void update(real eta)
{
    for (int n = 0; n < 2 * (N - 2); n++)
        for (int i = 0; i < parameters[n].count; i++)
            parameters[n].value[i] -= eta * parameters[n].gradient[i] / S;
}

#endif
