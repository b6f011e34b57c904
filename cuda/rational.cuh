// Rational functions. Macros: KAN_NUMERATOR and KAN_DENOMINATOR, the numbers of coefficients;
// KAN_SQUASH.
#pragma once

#include "activations.cuh"

namespace kan {

// F = P / Q, P = sum_{m=0..n} a_m z^m, Q = 1 + sum_{m=1..d} |b_m| |z|^m; shape = a_0..a_n, b_1..b_d.
//     dF/dz   = (P' - sgn(z) sum_m m |b_m| |z|^{m-1} F) / Q
//     dF/da_m = z^m / Q
//     dF/db_m = -sgn(b_m) |z|^m F / Q
// with sgn(0) = 1: a coefficient that starts at 0 can leave it.
template <typename T>
struct Rational {
    static constexpr int n = KAN_NUMERATOR - 1;
    static constexpr int d = KAN_DENOMINATOR;
    static constexpr int M = 1;
    static constexpr int S = n + 1 + d;

    static KAN_FN void values(T x, const T* shape, T (&phi)[M]) {
        const T z = KAN_SQUASH::value(x);
        phi[0] = numerator(z, shape) / denominator(abs_(z), shape + n + 1);
    }

    static KAN_FN T pull_back(
        T x, const T* a, const T (&g)[M], T* grad_shape, T (&phi)[M]) {
        T squash, slope = T(0), bend = T(0);
        const T* b = a + n + 1;
        const T z = KAN_SQUASH::both(x, squash), size = abs_(z);
        const T inverse = T(1) / denominator(size, b);
        const T F = phi[0] = numerator(z, a) * inverse;
        KAN_UNROLL
        for (int m = n; m >= 1; --m) slope = slope * z + T(m) * a[m];
        KAN_UNROLL
        for (int m = d; m >= 1; --m) bend = bend * size + T(m) * abs_(b[m - 1]);
        const T weight = g[0] * inverse, square = z * z;
        // Even and odd powers apart: half as many roundings in the highest one.
        T powers[2] = {weight, weight * z};
        KAN_UNROLL
        for (int m = 0; m <= n; ++m) {
            grad_shape[m] += powers[m % 2];
            powers[m % 2] = powers[m % 2] * square;
        }
        powers[0] = weight * F, powers[1] = powers[0] * size;
        KAN_UNROLL
        for (int m = 1; m <= d; ++m) {
            const T power = powers[m % 2];
            grad_shape[n + m] += select_(b[m - 1] >= T(0), -power, power);
            powers[(m + 1) % 2] = powers[(m + 1) % 2] * square;
        }
        return (slope - select_(z >= T(0), bend, -bend) * F) * weight * squash;
    }

   private:
    static KAN_FN T numerator(T z, const T* a) {
        T P = a[n];
        KAN_UNROLL
        for (int m = n - 1; m >= 0; --m) P = P * z + a[m];
        return P;
    }

    static KAN_FN T denominator(T size, const T* b) {
        T Q = abs_(b[d - 1]);
        KAN_UNROLL
        for (int m = d - 1; m >= 1; --m) Q = Q * size + abs_(b[m - 1]);
        return Q * size + T(1);
    }
};

}  // namespace kan
