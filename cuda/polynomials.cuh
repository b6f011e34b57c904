// Polynomials of z = squash(x), degree d: phi_1, ..., phi_d (phi_0 is constant and left out).
// Macros: KAN_DEGREE d, KAN_SQUASH, and those named at each functor.
#pragma once

#include "activations.cuh"

namespace kan {

// P_0 = 1, P_1 = (p_0 + p_1 z), P_m = (a_m z + b_m) P_{m-1} - c_m P_{m-2}.
//
// With G_m the gradient of P_m, for m = d, ..., 2:
//     dz      += a_m P_{m-1} G_m
//     G_{m-1} += (a_m z + b_m) G_m
//     G_{m-2} -= c_m G_m
// and dz += p_1 G_1, dx = dz squash'(x).
template <typename T, typename Recurrence>
struct ThreeTerm {
    static constexpr int M = KAN_DEGREE;
    static constexpr int S = 0;
    using R = Recurrence;

    static KAN_FN void values(T x, const T*, T (&phi)[M]) { recur(KAN_SQUASH::value(x), phi); }

    static KAN_FN T pull_back(T x, const T*, const T (&g)[M], T*, T (&phi)[M]) {
        T slope, G[M], dz = T(0);
        const T z = KAN_SQUASH::both(x, slope);
        recur(z, phi);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) G[j] = g[j];
        KAN_UNROLL
        for (int m = M; m >= 2; --m) {  // P_m is phi[m - 1]
            dz += T(R::a(m)) * phi[m - 2] * G[m - 1];
            G[m - 2] += (T(R::a(m)) * z + T(R::b(m))) * G[m - 1];
            if (m > 2) G[m - 3] -= T(R::c(m)) * G[m - 1];
        }
        return (dz + T(R::first(1)) * G[0]) * slope;
    }

   private:
    static KAN_FN void recur(T z, T (&phi)[M]) {
        phi[0] = T(R::first(0)) + T(R::first(1)) * z;
        KAN_UNROLL
        for (int m = 2; m <= M; ++m) {
            const T before = m > 2 ? phi[m > 2 ? m - 3 : 0] : T(1);
            phi[m - 1] = (T(R::a(m)) * z + T(R::b(m))) * phi[m - 2] - T(R::c(m)) * before;
        }
    }
};

// T_1 = z, T_m = 2 z T_{m-1} - T_{m-2}
struct ChebyshevRecurrence {
    static KAN_FN constexpr double first(int power) { return power; }
    static KAN_FN constexpr double a(int) { return 2.0; }
    static KAN_FN constexpr double b(int) { return 0.0; }
    static KAN_FN constexpr double c(int) { return 1.0; }
};

// P_1 = z, m P_m = (2m - 1) z P_{m-1} - (m - 1) P_{m-2}
struct LegendreRecurrence {
    static KAN_FN constexpr double first(int power) { return power; }
    static KAN_FN constexpr double a(int m) { return (2.0 * m - 1.0) / m; }
    static KAN_FN constexpr double b(int) { return 0.0; }
    static KAN_FN constexpr double c(int m) { return (m - 1.0) / m; }
};

template <typename T>
struct Chebyshev : ThreeTerm<T, ChebyshevRecurrence> {};

template <typename T>
struct Legendre : ThreeTerm<T, LegendreRecurrence> {};

#if defined(KAN_JACOBI_A) && defined(KAN_JACOBI_B)
// P_1 = ((a - b) + (a + b + 2) z) / 2, and with t = 2m + a + b, n = m (m + a + b):
//     a_m = t (t - 1) / (2 n)
//     b_m = (t - 1) (a^2 - b^2) / (2 n (t - 2))
//     c_m = (m + a - 1) (m + b - 1) t / (n (t - 2))
// Macros: KAN_JACOBI_A a, KAN_JACOBI_B b.
struct JacobiRecurrence {
    static KAN_FN constexpr double t(int m) { return 2.0 * m + (KAN_JACOBI_A) + (KAN_JACOBI_B); }
    static KAN_FN constexpr double n(int m) { return m * (m + (KAN_JACOBI_A) + (KAN_JACOBI_B)); }
    static KAN_FN constexpr double first(int power) {
        return power ? ((KAN_JACOBI_A) + (KAN_JACOBI_B) + 2.0) / 2.0
                     : ((KAN_JACOBI_A) - (KAN_JACOBI_B)) / 2.0;
    }
    static KAN_FN constexpr double a(int m) { return t(m) * (t(m) - 1.0) / (2.0 * n(m)); }
    static KAN_FN constexpr double b(int m) {
        return (t(m) - 1.0) * ((KAN_JACOBI_A) * (KAN_JACOBI_A) - (KAN_JACOBI_B) * (KAN_JACOBI_B)) /
               (2.0 * n(m) * (t(m) - 2.0));
    }
    static KAN_FN constexpr double c(int m) {
        return (m + (KAN_JACOBI_A)-1.0) * (m + (KAN_JACOBI_B)-1.0) * t(m) / (n(m) * (t(m) - 2.0));
    }
};

template <typename T>
struct Jacobi : ThreeTerm<T, JacobiRecurrence> {};
#endif

#if defined(KAN_OUTER)
// phi_m = outer(P_m), P_0 = 1, P_1 = z, P_m = z P_{m-1} - k_m P_{m-2},
// k_m = g_m beta_{m-1}, g_m = (2m - 1) (m - 1)^2 (4 (m - 1)^2 - 1) / m^2, shape = beta_0..beta_d.
//
// With G_m = g_m outer'(P_m) at first, for m = d, ..., 2:
//     dz          += P_{m-1} G_m
//     G_{m-1}     += z G_m
//     G_{m-2}     -= k_m G_m
//     dbeta_{m-1} -= g_m P_{m-2} G_m
// and dz += G_1, dx = dz squash'(x). Macro: KAN_OUTER.
template <typename T>
struct Gram {
    static constexpr int M = KAN_DEGREE;
    static constexpr int S = KAN_DEGREE + 1;

    static KAN_FN void values(T x, const T* beta, T (&phi)[M]) {
        recur(KAN_SQUASH::value(x), beta, phi);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) phi[j] = KAN_OUTER::value(phi[j]);
    }

    static KAN_FN T pull_back(T x, const T* beta, const T (&g)[M], T* grad_beta, T (&phi)[M]) {
        T slope, bend, P[M], G[M], dz = T(0);
        const T z = KAN_SQUASH::both(x, slope);
        recur(z, beta, P);
        KAN_UNROLL
        for (int j = 0; j < M; ++j) {
            phi[j] = KAN_OUTER::both(P[j], bend);
            G[j] = g[j] * bend;
        }
        KAN_UNROLL
        for (int m = M; m >= 2; --m) {
            const T before = m > 2 ? P[m > 2 ? m - 3 : 0] : T(1);
            dz += P[m - 2] * G[m - 1];
            G[m - 2] += z * G[m - 1];
            if (m > 2) G[m - 3] -= factor(m) * beta[m - 1] * G[m - 1];
            grad_beta[m - 1] -= factor(m) * before * G[m - 1];
        }
        return (dz + G[0]) * slope;
    }

   private:
    static KAN_FN T factor(int m) {
        const double n = (m - 1.0) * (m - 1.0);
        return T((2.0 * m - 1.0) * n * (4.0 * n - 1.0) / (double(m) * m));
    }

    static KAN_FN void recur(T z, const T* beta, T (&P)[M]) {
        P[0] = z;
        KAN_UNROLL
        for (int m = 2; m <= M; ++m) {
            const T before = m > 2 ? P[m > 2 ? m - 3 : 0] : T(1);
            P[m - 1] = z * P[m - 2] - factor(m) * beta[m - 1] * before;
        }
    }
};
#endif

// phi_m = z^m; with G_m the gradient of z^m: G_{m-1} += z G_m, dz += z^{m-1} G_m.
template <typename T>
struct Monomial {
    static constexpr int M = KAN_DEGREE;
    static constexpr int S = 0;

    static KAN_FN void values(T x, const T*, T (&phi)[M]) { powers(KAN_SQUASH::value(x), phi); }

    static KAN_FN T pull_back(T x, const T*, const T (&g)[M], T*, T (&phi)[M]) {
        T slope, dz = T(0), G = g[M - 1];
        const T z = KAN_SQUASH::both(x, slope);
        powers(z, phi);
        KAN_UNROLL
        for (int m = M; m >= 2; --m) {
            dz += phi[m - 2] * G;
            G = g[m - 2] + z * G;
        }
        return (dz + G) * slope;
    }

   private:
    static KAN_FN void powers(T z, T (&phi)[M]) {
        phi[0] = z;
        KAN_UNROLL
        for (int m = 2; m <= M; ++m) phi[m - 1] = phi[m - 2] * z;
    }
};

// b_j = binom(d, j) u^j v^{d-j}, j = 0..d, u = squash(x), v = 1 - u; none is constant.
// b_j' = binom(d, j) (j u^{j-1} v^{d-j} - (d - j) u^j v^{d-j-1})
template <typename T>
struct Bernstein {
    static constexpr int d = KAN_DEGREE;
    static constexpr int M = d + 1;
    static constexpr int S = 0;

    static KAN_FN void values(T x, const T*, T (&phi)[M]) {
        T u[M], v[M];
        powers(KAN_SQUASH::value(x), u, v);
        combine(u, v, phi);
    }

    static KAN_FN T pull_back(T x, const T*, const T (&g)[M], T*, T (&phi)[M]) {
        T u[M], v[M], slope, du = T(0);
        powers(KAN_SQUASH::both(x, slope), u, v);
        combine(u, v, phi);
        KAN_UNROLL
        for (int j = 0; j <= d; ++j) {
            T bend = T(0);
            if (j > 0) bend += T(j * binomial(j)) * u[j > 0 ? j - 1 : 0] * v[d - j];
            if (j < d) bend -= T((d - j) * binomial(j)) * u[j] * v[j < d ? d - j - 1 : 0];
            du += g[j] * bend;
        }
        return du * slope;
    }

   private:
    static KAN_FN constexpr double binomial(int j) {
        double value = 1.0;
        for (int i = 1; i <= j; ++i) value = value * (d - j + i) / i;
        return value;
    }

    static KAN_FN void powers(T z, T (&u)[M], T (&v)[M]) {
        u[0] = v[0] = T(1);
        KAN_UNROLL
        for (int j = 1; j <= d; ++j) {
            u[j] = u[j - 1] * z;
            v[j] = v[j - 1] * (T(1) - z);
        }
    }

    static KAN_FN void combine(const T (&u)[M], const T (&v)[M], T (&phi)[M]) {
        KAN_UNROLL
        for (int j = 0; j <= d; ++j) phi[j] = T(binomial(j)) * u[j] * v[d - j];
    }
};

}  // namespace kan
