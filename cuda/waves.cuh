// Sines and cosines (macro KAN_NUM_FREQUENCIES n) and wavelets (macros KAN_NUM_WAVELETS, KAN_WAVELET).
// Both: KAN_SQUASH.
#pragma once

#include "activations.cuh"
#include "wavelets.cuh"

namespace kan {

#if defined(KAN_NUM_FREQUENCIES)
// phi = cos(z), sin(z), ..., cos(n z), sin(n z); cos' = -m sin, sin' = m cos
template <typename T>
struct Fourier {
    static constexpr int M = 2 * KAN_NUM_FREQUENCIES;
    static constexpr int S = 0;

    static KAN_FN void values(T x, const T*, T (&phi)[M]) { waves(KAN_SQUASH::value(x), phi); }

    static KAN_FN T pull_back(T x, const T*, const T (&g)[M], T*, T (&phi)[M]) {
        T bend, dz = T(0);
        waves(KAN_SQUASH::both(x, bend), phi);
        KAN_UNROLL
        for (int j = 0; j < M; j += 2) {
            dz += T(j / 2 + 1) * (g[j + 1] * phi[j] - g[j] * phi[j + 1]);
        }
        return dz * bend;
    }

   private:
    static KAN_FN void waves(T z, T (&phi)[M]) {
        KAN_UNROLL
        for (int j = 0; j < M; j += 2) {
            const T angle = T(j / 2 + 1) * z;
            phi[j] = cos_(angle);
            phi[j + 1] = sin_(angle);
        }
    }
};
#endif

#if defined(KAN_NUM_WAVELETS)
// phi_j = psi(u_j), u_j = (z - tau_j) / s_j; shape = tau_0..tau_{M-1}, s_0..s_{M-1}.
//     G_j = g_j psi'(u_j) / s_j, dz = sum_j G_j, dtau_j = -G_j, ds_j = -G_j u_j
template <typename T>
struct Wavelet {
    static constexpr int M = KAN_NUM_WAVELETS;
    static constexpr int S = 2 * KAN_NUM_WAVELETS;

    static KAN_FN void values(T x, const T* shape, T (&phi)[M]) {
        const T z = KAN_SQUASH::value(x);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) phi[j] = KAN_WAVELET::value(argument(z, shape, j));
    }

    static KAN_FN T pull_back(
        T x, const T* shape, const T (&g)[M], T* grad_shape, T (&phi)[M]) {
        T bend, dz = T(0);
        const T z = KAN_SQUASH::both(x, bend);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            T slope;
            const T u = argument(z, shape, j);
            phi[j] = KAN_WAVELET::both(u, slope);
            const T G = g[j] * slope / shape[M + j];
            dz += G;
            grad_shape[j] -= G;
            grad_shape[M + j] -= G * u;
        }
        return dz * bend;
    }

   private:
    static KAN_FN T argument(T z, const T* shape, int j) {
        return within_reach<KAN_WAVELET>((z - shape[j]) / shape[M + j]);
    }
};
#endif

}  // namespace kan
