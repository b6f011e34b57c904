// B-splines of order p on the uniform knots t_m = low + (m - p) h, m = 0..G+2p.
// Macros: KAN_GRID_SIZE G, KAN_SPLINE_ORDER p, KAN_LOW, KAN_STEP h, KAN_SQUASH.
#pragma once

#include "activations.cuh"

namespace kan {

// On the cell [t_m, t_{m+1}) only B_{m-p}, ..., B_m differ from 0. With t = (z - t_m) / h in [0, 1),
// their values b_r = B_{m-p+r}(z), r = 0..p, follow
//     b_0 = 1 for order 0
//     b_r <- ((t + q - r) b_{r-1} + (r + 1 - t) b_r) / q, q = 1..p
//     db_r/dz = (b_{r-1} - b_r) / h of order p - 1.
template <typename T>
struct LocalSplines {
    static constexpr int p = KAN_SPLINE_ORDER;
    static constexpr int num_functions = KAN_GRID_SIZE + KAN_SPLINE_ORDER;
    // Cells are counted from the knot in the middle of the grid, near which z is exact.
    static constexpr int middle = p + KAN_GRID_SIZE / 2;

    T cell, z, b[p + 1], db[p + 1];

    KAN_FN explicit LocalSplines(T z_) : z(z_) {
        const T place = (z - T((KAN_LOW) + (KAN_GRID_SIZE / 2) * (KAN_STEP))) * T(1.0 / (KAN_STEP));
        cell = floor_(place);
        const T t = place - cell;
        b[0] = T(1);
        db[0] = T(0);
        KAN_UNROLL
        for (int q = 1; q <= p; ++q) {
            if (q == p) {
                db[0] = b[0] * T(-1.0 / (KAN_STEP));
                KAN_UNROLL
                for (int r = 1; r < p; ++r) db[r] = (b[r - 1] - b[r]) * T(1.0 / (KAN_STEP));
                db[p] = b[p > 0 ? p - 1 : 0] * T(1.0 / (KAN_STEP));
            }
            b[q] = t * b[q - 1] * T(1.0 / q);
            KAN_UNROLL
            for (int r = q - 1; r >= 1; --r) {
                b[r] = ((t + T(q - r)) * b[r - 1] + (T(r + 1) - t) * b[r]) * T(1.0 / q);
            }
            b[0] = (T(1) - t) * b[0] * T(1.0 / q);
        }
    }

    // `yes` where b_r is the value of B_j, else `no`.
    KAN_FN T where(int j, int r, T yes, T no) const {
        return select_(cell == T(j + p - r - middle), yes, no);
    }

    // B_j(z); NaN for NaN.
    KAN_FN T value(int j) const {
        T v = select_(z == z, T(0), z);
        if (p == 0) return select_(z >= knot(j), select_(z < knot(j + 1), T(1), v), v);
        KAN_UNROLL
        for (int r = 0; r <= p; ++r) v = where(j, r, b[r], v);
        return v;
    }

    // dB_j/dz.
    KAN_FN T slope(int j) const {
        T v = T(0);
        if (p == 0) return v;
        KAN_UNROLL
        for (int r = 0; r <= p; ++r) v = where(j, r, db[r], v);
        return select_(z == z, v, z);
    }

   private:
    static KAN_FN T knot(int m) { return T((KAN_LOW) + (m - p) * (KAN_STEP)); }
};

// phi_j = B_j(z), j = 0..G+p-1, dx = squash'(x) sum_j g_j dB_j/dz
template <typename T>
struct BSpline {
    static constexpr int M = KAN_GRID_SIZE + KAN_SPLINE_ORDER;
    static constexpr int S = 0;

    static KAN_FN void values(T x, const T*, T (&phi)[M]) {
        const LocalSplines<T> splines(KAN_SQUASH::value(x));
        KAN_UNROLL
        for (int j = 0; j < M; ++j) phi[j] = splines.value(j);
    }

    static KAN_FN T pull_back(T x, const T*, const T (&g)[M], T*, T (&phi)[M]) {
        T bend, dz = T(0);
        const LocalSplines<T> splines(KAN_SQUASH::both(x, bend));
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            phi[j] = splines.value(j);
            dz += g[j] * splines.slope(j);
        }
        return dz * bend;
    }
};

// phi = sum_j w_j B_j(z), shape = w_0..w_{G+p-1}; dw_j = g B_j
template <typename T>
struct SharedSpline {
    static constexpr int M = 1;
    static constexpr int S = KAN_GRID_SIZE + KAN_SPLINE_ORDER;

    static KAN_FN void values(T x, const T* w, T (&phi)[M]) {
        const LocalSplines<T> splines(KAN_SQUASH::value(x));
        phi[0] = T(0);
        KAN_UNROLL
        for (int j = 0; j < S; ++j) phi[0] += w[j] * splines.value(j);
    }

    static KAN_FN T pull_back(T x, const T* w, const T (&g)[M], T* grad_w, T (&phi)[M]) {
        T bend, slope = T(0);
        const LocalSplines<T> splines(KAN_SQUASH::both(x, bend));
        phi[0] = T(0);
        KAN_UNROLL
        for (int j = 0; j < S; ++j) {
            const T value = splines.value(j);
            phi[0] += w[j] * value;
            slope += w[j] * splines.slope(j);
            grad_w[j] += g[0] * value;
        }
        return g[0] * slope * bend;
    }
};

}  // namespace kan
