// A quotient of polynomials, its derivative and the gradients of its coefficients.
#pragma once

#include "platform.cuh"

namespace kan {

// sum_k c_k x^k, k < COUNT.
template <int COUNT, typename T>
KAN_FN T horner(const T* c, T x) {
    T y = c[COUNT - 1];
    KAN_UNROLL
    for (int k = COUNT - 2; k >= 0; --k) y = y * x + c[k];
    return y;
}

// sum_k k c_k x^(k-1), k < COUNT.
template <int COUNT, typename T>
KAN_FN T horner_slope(const T* c, T x) {
    T y = T(COUNT - 1) * c[COUNT - 1];
    KAN_UNROLL
    for (int k = COUNT - 2; k >= 1; --k) y = y * x + T(k) * c[k];
    return y;
}

// The function of Quotient for numbers whose powers do not overflow: the formulas with E = 0.
template <typename T, int N, int D>
struct NearQuotient {
    T a[N], b[D + 1];

    // a_0, ..., a_{N-1} and |b_1|, ..., |b_D|
    KAN_FN NearQuotient(const T* numerator, const T* sizes) {
        b[0] = T(1);
        KAN_UNROLL
        for (int m = 0; m < N; ++m) a[m] = numerator[m];
        KAN_UNROLL
        for (int m = 0; m < D; ++m) b[m + 1] = sizes[m];
    }

    KAN_FN T value(T x) const { return horner<N>(a, x) / horner<D + 1>(b, abs_(x)); }

    KAN_FN T both(T x, T& slope, T& inverse) const {
        const T size = abs_(x), dQ = horner_slope<D + 1>(b, size);
        inverse = T(1) / horner<D + 1>(b, size);
        const T F = horner<N>(a, x) * inverse;
        slope = (horner_slope<N>(a, x) - select_(x < T(0), -dQ, dQ) * F) * inverse;
        return F;
    }

    KAN_FN void add_gradients(T x, T weight, T F, T* grad_a, T* grad_b) const {
        const T size = abs_(x);
        T up = weight, side = weight * F;
        grad_a[0] += up;
        KAN_UNROLL
        for (int m = 1; m < N; ++m) grad_a[m] += up = up * x;
        KAN_UNROLL
        for (int m = 0; m < D; ++m) grad_b[m] -= side = side * size;
    }
};

// F = P / Q, P = sum_{m=0..N-1} a_m x^m, Q = sum_{m=0..D} |b_m| |x|^m, b_0 = 1.
//
// For |x| > 1 both are divided by |x|^e, so that neither overflows where F does not; e is the largest
// m with b_m != 0. With w = 1 / x, v = |w|, s = sgn(x)^e:
//     P |x|^-e = s (top(x) + w low(w)),  top_k = a_{e+k},  low_k = a_{e-1-k}
//     Q |x|^-e = bottom(v),              bottom_k = |b_{e-k}|
// With E = e for |x| > 1, else 0, and from here on P and Q divided by |x|^E:
//     dF/dx   = (P' - Q' F) / Q
//     dF/da_m = x^m |x|^-E / Q
//     dF/db_m = -sgn(b_m) |x|^(m-E) F / Q
// with sgn(0) = 1: a coefficient that starts at 0 can leave it. F is NaN at infinities.
template <typename T, int N, int D>
struct Quotient {
    T a[N], b[D + 1], sign[D];
    T top[N], low[D], bottom[D + 1], e, parity;  // parity: (-1)^e

    KAN_FN Quotient(const T* numerator, const T* denominator) {
        b[0] = T(1);
        KAN_UNROLL
        for (int m = 0; m < N; ++m) a[m] = numerator[m];
        KAN_UNROLL
        for (int m = 0; m < D; ++m) {
            b[m + 1] = abs_(denominator[m]);
            sign[m] = select_(denominator[m] >= T(0), T(1), T(-1));
        }
        // As if b_D were not 0, then one step down for each b_e that is.
        KAN_UNROLL
        for (int k = 0; k < N; ++k) top[k] = entry(a, D + k, N);
        KAN_UNROLL
        for (int k = 0; k < D; ++k) low[k] = entry(a, D - 1 - k, N);
        KAN_UNROLL
        for (int k = 0; k <= D; ++k) bottom[k] = b[D - k];
        e = T(D), parity = T(D % 2 ? -1 : 1);
        KAN_UNROLL
        for (int m = D; m > 0; --m) step_down();
    }

    KAN_FN T value(T x) const {
        const Scaled<false> s(*this, x);
        return s.P / s.Q + (x - x);
    }

    // F and its slope; inverse = 1 / Q.
    KAN_FN T both(T x, T& slope, T& inverse) const {
        const Scaled<true> s(*this, x);
        inverse = T(1) / s.Q;
        const T F = s.P * inverse + (x - x);
        slope = (s.dP - s.dQ * F) * inverse;
        return F;
    }

    // With weight = g / Q: adds g dF/da_m to grad_a[m] and g dF/db_m to grad_b[m - 1].
    KAN_FN void add_gradients(T x, T weight, T F, T* grad_a, T* grad_b) const {
        const auto outside = abs_(x) > T(1);
        const T E = select_(outside, e, T(0)), w = T(1) / select_(outside, x, T(1));
        const T s = select_(x < T(0), select_(outside, parity, T(1)), T(1));
        T sums[D] = {};
        add_powers<0, N>(weight, s, x, w, E, grad_a);
        add_powers<1, D>(weight, F, abs_(x), abs_(w), E, sums);
        KAN_UNROLL
        for (int m = 0; m < D; ++m) grad_b[m] -= sign[m] * sums[m];
    }

   private:
    // P and Q divided by |x|^E, and their slopes.
    template <bool SLOPES>
    struct Scaled {
        T P, Q, dP, dQ;

        KAN_FN Scaled(const Quotient& c, T x) {
            const T size = abs_(x), sgn = select_(x < T(0), T(-1), T(1));
            const auto outside = size > T(1);
            const T w = T(1) / select_(outside, x, T(1)), v = abs_(w);
            const T s = select_(x < T(0), c.parity, T(1)), low = horner<D>(c.low, w);
            P = select_(outside, s * (horner<N>(c.top, x) + w * low), horner<N>(c.a, x));
            Q = select_(outside, horner<D + 1>(c.bottom, v), horner<D + 1>(c.b, size));
            if (!SLOPES) return;
            const T bend = w * w * (low + w * horner_slope<D>(c.low, w));
            dP = select_(outside, s * (horner_slope<N>(c.top, x) - bend), horner_slope<N>(c.a, x));
            dQ = sgn * select_(outside, -v * v * horner_slope<D + 1>(c.bottom, v), horner_slope<D + 1>(c.b, size));
        }
    };

    KAN_FN void step_down() {
        const auto none = bottom[0] == T(0);
        KAN_UNROLL
        for (int k = N - 1; k >= 0; --k) {
            top[k] = select_(none, k > 0 ? entry(top, k - 1, N) : low[0], top[k]);
        }
        KAN_UNROLL
        for (int k = 0; k < D; ++k) low[k] = select_(none, entry(low, k + 1, D), low[k]);
        KAN_UNROLL
        for (int k = 0; k <= D; ++k) bottom[k] = select_(none, entry(bottom, k + 1, D + 1), bottom[k]);
        e = select_(none, e - T(1), e);
        parity = select_(none, -parity, parity);
    }

    static KAN_FN T entry(const T* values, int i, int count) {
        return 0 <= i && i < count ? values[i] : T(0);
    }

    // sums[m - FIRST] += weight factor x^(m - E), m = FIRST, ..., FIRST + COUNT - 1; w = 1 / x.
    template <int FIRST, int COUNT>
    static KAN_FN void add_powers(T weight, T factor, T x, T w, T E, T* sums) {
        T up = weight * factor, down = weight * w * factor;
        KAN_UNROLL
        for (int m = 0; m < FIRST + COUNT; ++m) {
            const auto reached = E <= T(m);
            if (m >= FIRST) sums[m - FIRST] += select_(reached, up, T(0));
            up = select_(reached, up * x, up);
        }
        KAN_UNROLL
        for (int m = D - 1; m >= FIRST; --m) {
            const auto reached = E > T(m);
            if (m < FIRST + COUNT) sums[m - FIRST] += select_(reached, down, T(0));
            down = select_(reached, down * w, down);
        }
    }
};

}  // namespace kan
