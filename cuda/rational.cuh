// Rational functions. Macros: KAN_NUMERATOR and KAN_DENOMINATOR, the numbers of coefficients;
// KAN_SQUASH.
#pragma once

#include "activations.cuh"
#include "quotient.cuh"

namespace kan {

// F(z), the quotient with N = KAN_NUMERATOR, D = KAN_DENOMINATOR; shape = a_0..a_{N-1}, b_1..b_D.
template <typename T>
struct Rational {
    static constexpr int N = KAN_NUMERATOR;
    static constexpr int D = KAN_DENOMINATOR;
    static constexpr int M = 1;
    static constexpr int S = N + D;

    static KAN_FN void values(T x, const T* shape, T (&phi)[M]) {
        phi[0] = Quotient<T, N, D>(shape, shape + N).value(KAN_SQUASH::value(x));
    }

    static KAN_FN T pull_back(T x, const T* shape, const T (&g)[M], T* grad_shape, T (&phi)[M]) {
        T squash, slope, inverse;
        const Quotient<T, N, D> F(shape, shape + N);
        const T z = KAN_SQUASH::both(x, squash);
        phi[0] = F.both(z, slope, inverse);
        F.add_gradients(z, g[0] * inverse, phi[0], grad_shape, grad_shape + N);
        return g[0] * slope * squash;
    }
};

}  // namespace kan
