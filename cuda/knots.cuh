// B-splines of order p on knots t_0 <= ... <= t_{N-1} of any distances, which a channel reads.
// Macros: KAN_NUM_KNOTS N, KAN_KNOT_ORDER p.
#pragma once

#include "platform.cuh"

namespace kan {

// phi_j = B^p_j(x), j = 0..N-2-p; shape = t_0..t_{N-1}, which are not learned.
//     B^0_j     = 1 on [t_j, t_{j+1}), else 0
//     B^q_j     = (x - t_j) d_{j,q} B^{q-1}_j + (t_{j+q+1} - x) d_{j+1,q} B^{q-1}_{j+1}
//     dB^p_j/dx = p (d_{j,p} B^{p-1}_j - d_{j+1,p} B^{p-1}_{j+1})
// with d_{j,q} = 1 / (t_{j+q} - t_j), or 0 where that is 1 / 0. Beyond the knots all are 0.
template <typename T>
struct KnotSplines {
    static constexpr int p = KAN_KNOT_ORDER;
    static constexpr int S = KAN_NUM_KNOTS;
    static constexpr int M = S - 1 - p;

    static KAN_FN void values(T x, const T* t, T (&phi)[M]) {
        T b[S - 1], before[S - 1], d[S];
        recur(x, t, b, before, d);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) phi[j] = b[j];
    }

    static KAN_FN T pull_back(T x, const T* t, const T (&g)[M], T*, T (&phi)[M]) {
        T b[S - 1], before[S - 1], d[S], dx = T(0);
        recur(x, t, b, before, d);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            phi[j] = b[j];
            if (p > 0) dx += g[j] * (d[j] * before[j] - d[j + 1] * before[p > 0 ? j + 1 : 0]);
        }
        return dx * T(p);
    }

   private:
    // b = B^p, before = B^{p-1} and d of order p.
    static KAN_FN void recur(T x, const T* t, T (&b)[S - 1], T (&before)[S - 1], T (&d)[S]) {
        // Beyond the knots, where B^0 is 0, a number that cannot overflow stands for x.
        const T z = select_(x < t[0], t[0], select_(x >= t[S - 1], t[0], x));
        const T outside = select_(x == x, T(0), x);  // NaN for NaN
        KAN_UNROLL
        for (int j = 0; j + 1 < S; ++j) {
            b[j] = select_(x >= t[j], select_(x < t[j + 1], T(1), outside), outside);
        }
        KAN_UNROLL
        for (int q = 1; q <= p; ++q) {
            KAN_UNROLL
            for (int j = 0; j + q < S; ++j) {
                if (q == p) before[j] = b[j];
                const T width = t[j + q] - t[j];
                d[j] = select_(width > T(0), T(1) / select_(width > T(0), width, T(1)), T(0));
            }
            KAN_UNROLL
            for (int j = 0; j + q + 1 < S; ++j) {
                b[j] = (z - t[j]) * d[j] * b[j] + (t[j + q + 1] - z) * d[j + 1] * b[j + 1];
            }
        }
    }
};

}  // namespace kan
