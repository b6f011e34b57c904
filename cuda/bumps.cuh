// Bumps on a grid: Gaussians (macros KAN_NUM_CENTRES, KAN_CENTRES "c_0, c_1, ...", KAN_WIDTH) and
// products of ReLUs (macros KAN_NUM_BUMPS, KAN_FACTOR). Both: KAN_SQUASH.
#pragma once

#include "activations.cuh"

namespace kan {

#if defined(KAN_CENTRES)
// phi_j = exp(-t_j^2), t_j = (z - c_j) / d, dphi_j/dz = -2 t_j phi_j / d
template <typename T>
struct RBF {
    static constexpr int M = KAN_NUM_CENTRES;
    static constexpr int S = 0;

    static KAN_FN void values(T x, const T*, T (&phi)[M]) {
        const double c[M] = {KAN_CENTRES};
        const T z = KAN_SQUASH::value(x);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            const T t = place(z, c[j]);
            phi[j] = exp_(-t * t);
        }
    }

    static KAN_FN T pull_back(T x, const T*, const T (&g)[M], T*, T (&phi)[M]) {
        const double c[M] = {KAN_CENTRES};
        T bend, dz = T(0);
        const T z = KAN_SQUASH::both(x, bend);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            const T t = place(z, c[j]);
            phi[j] = exp_(-t * t);
            dz += g[j] * t * phi[j];
        }
        return dz * T(-2.0 / (KAN_WIDTH)) * bend;
    }

   private:
    // t, but +-40 beyond, where exp(-t^2) is 0: it has a square.
    static KAN_FN T place(T z, double c) {
        return bound_((z - T(c)) * T(1.0 / (KAN_WIDTH)), T(40));
    }
};
#endif

#if defined(KAN_NUM_BUMPS)
// phi_j = v_j^2, v_j = r a_j b_j, a_j = relu(z - low_j), b_j = relu(high_j - z);
// shape = low_0..low_{M-1}, high_0..high_{M-1}.
//     dlow_j  = -2 g_j v_j r b_j      (0 where a_j = 0: v_j is then 0)
//     dhigh_j =  2 g_j v_j r a_j
//     dz      = -sum_j (dlow_j + dhigh_j)
// z counts as +-1e30 beyond: it has a product with 0.
template <typename T>
struct ReLU {
    static constexpr int M = KAN_NUM_BUMPS;
    static constexpr int S = 2 * KAN_NUM_BUMPS;

    static KAN_FN void values(T x, const T* shape, T (&phi)[M]) {
        const T z = bound_(KAN_SQUASH::value(x), T(1e30));
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            const T v = relu_(z - shape[j]) * relu_(shape[M + j] - z) * T(KAN_FACTOR);
            phi[j] = v * v;
        }
    }

    static KAN_FN T pull_back(
        T x, const T* shape, const T (&g)[M], T* grad_shape, T (&phi)[M]) {
        T bend, dz = T(0);
        const T z = bound_(KAN_SQUASH::both(x, bend), T(1e30));
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            const T a = relu_(z - shape[j]), b = relu_(shape[M + j] - z);
            const T v = a * b * T(KAN_FACTOR);
            const T G = g[j] * v * T(2.0 * (KAN_FACTOR));
            phi[j] = v * v;
            grad_shape[j] -= G * b;
            grad_shape[M + j] += G * a;
            dz += G * (b - a);
        }
        return dz * bend;
    }
};
#endif

}  // namespace kan
