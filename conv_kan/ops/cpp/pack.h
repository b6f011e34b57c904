// A pack of numbers that g++ keeps in a vector register, with the arithmetic that the formulas in
// cuda/ ask of a number type: one step of a formula is then one instruction for all lanes, without
// depending on what the compiler manages to vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "platform.cuh"

namespace kan {

// The bytes of a vector register: GCC takes wider packs apart number by number.
#if defined(__AVX512F__)
constexpr int kPackBytes = 64;
#elif defined(__AVX__)
constexpr int kPackBytes = 32;
#else
constexpr int kPackBytes = 16;
#endif

template <typename S>
struct Numbers;  // what differs between float and double

template <>
struct Numbers<float> {
    using Int = int32_t;
    static constexpr int mantissa = 23, bias = 127;
    static constexpr float rounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to integers
    static constexpr float exp_low = -86.5f, exp_high = 88.72284f;
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float angle_limit = 1.0e4f;
};

template <>
struct Numbers<double> {
    using Int = int64_t;
    static constexpr int mantissa = 52, bias = 1023;
    static constexpr double rounder = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double exp_low = -707.0, exp_high = 709.782712893384;
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
};

template <typename S, int N>
struct Pack {
    typedef S Vector __attribute__((vector_size(sizeof(S) * N)));
    using Scalar = S;
    static constexpr int lanes = N;
    Vector v;

    Pack() = default;
    KAN_FN Pack(Vector vector) : v(vector) {}
    KAN_FN explicit Pack(double number) : v(Vector{} + S(number)) {}

    KAN_FN friend Pack operator+(Pack a, Pack b) { return a.v + b.v; }
    KAN_FN friend Pack operator-(Pack a, Pack b) { return a.v - b.v; }
    KAN_FN friend Pack operator*(Pack a, Pack b) { return a.v * b.v; }
    KAN_FN friend Pack operator/(Pack a, Pack b) { return a.v / b.v; }
    KAN_FN friend Pack operator-(Pack a) { return -a.v; }
    KAN_FN Pack& operator+=(Pack b) { return v += b.v, *this; }
    KAN_FN Pack& operator-=(Pack b) { return v -= b.v, *this; }

    KAN_FN friend auto operator<(Pack a, Pack b) { return a.v < b.v; }
    KAN_FN friend auto operator>(Pack a, Pack b) { return a.v > b.v; }
    KAN_FN friend auto operator<=(Pack a, Pack b) { return a.v <= b.v; }
    KAN_FN friend auto operator>=(Pack a, Pack b) { return a.v >= b.v; }
    KAN_FN friend auto operator==(Pack a, Pack b) { return a.v == b.v; }
};

template <typename Condition, typename S, int N>
KAN_FN Pack<S, N> select_(Condition condition, Pack<S, N> yes, Pack<S, N> no) {
    return condition ? yes.v : no.v;
}

// f of every lane, for functions that no formula needs often.
template <typename S, int N, typename Function>
inline Pack<S, N> lanewise(Pack<S, N> x, Function f) {
    for (int i = 0; i < N; ++i) x.v[i] = f(x.v[i]);
    return x;
}

template <typename S, int N>
struct Bits {
    typedef typename Numbers<S>::Int Int;
    typedef Int Vector __attribute__((vector_size(sizeof(S) * N)));
};

// exp(x) = 2^n exp(r), n = round(x / ln 2), r = x - n ln 2 in two parts; Cephes' approximations of
// exp(r). Results below 1e-37 (1e-307 for double) are 0.
template <typename S, int N>
KAN_FN Pack<S, N> exp_(Pack<S, N> x) {
    using P = Pack<S, N>;
    using L = Numbers<S>;
    const P shifted = x * P(1.44269504088896340736) + P(L::rounder), n = shifted - P(L::rounder);
    P r = x - n * P(L::ln2_high), e;
    r = r - n * P(L::ln2_low);
    if constexpr (sizeof(S) == 4) {
        P p = P(1.9875691500e-4);
        p = p * r + P(1.3981999507e-3);
        p = p * r + P(8.3334519073e-3);
        p = p * r + P(4.1665795894e-2);
        p = p * r + P(1.6666665459e-1);
        p = p * r + P(5.0000001201e-1);
        e = p * (r * r) + r + P(1);
    } else {
        const P s = r * r;
        P p = P(1.26177193074810590878e-4), q = P(3.00198505138664455042e-6);
        p = (p * s + P(3.02994407707441961300e-2)) * s + P(9.99999999999999999910e-1);
        q = (q * s + P(2.52448340349684104192e-3)) * s + P(2.27265548208155028766e-1);
        q = q * s + P(2.00000000000000000005);
        p = p * r;
        e = P(1) + P(2) * (p / (q - p));
    }
    // The low bits of `shifted` hold n. Twice e times 2^(n-1): 2^n alone may overflow.
    const auto bits = (typename Bits<S, N>::Vector)shifted.v;
    const auto scale = (bits + (L::bias - 1)) << L::mantissa;
    e = (e + e) * P((typename P::Vector)scale);
    e = select_(x < P(L::exp_low), P(0), e);
    return select_(x > P(L::exp_high), P(HUGE_VAL), e);
}

// tanh(x) = x + x^3 R(x^2) for |x| < 0.625 (Cephes), else sign(x) (1 - 2 / (exp(2 |x|) + 1))
template <typename S, int N>
KAN_FN Pack<S, N> tanh_(Pack<S, N> x) {
    using P = Pack<S, N>;
    const P s = x * x, size = abs_(x);
    P near;
    if constexpr (sizeof(S) == 4) {
        P p = P(-5.70498872745e-3);
        p = p * s + P(2.06390887954e-2);
        p = p * s + P(-5.37397155531e-2);
        p = p * s + P(1.33314422036e-1);
        p = p * s + P(-3.33332819422e-1);
        near = p * s * x + x;
    } else {
        P p = P(-9.64399179425052238628e-1), q = s + P(1.12811678491632931402e2);
        p = (p * s + P(-9.92877231001918586564e1)) * s + P(-1.61468768441708447952e3);
        q = (q * s + P(2.23548839060100448583e3)) * s + P(4.84406305325125486048e3);
        near = x * s * (p / q) + x;
    }
    const P far = P(1) - P(2) / (exp_(size + size) + P(1));
    return select_(size < P(0.625), near, select_(x < P(0), -far, far));
}

// e^x - 1 = 2 t / (1 - t), t = tanh(x / 2); for x <= 0
template <typename S, int N>
KAN_FN Pack<S, N> expm1_(Pack<S, N> x) {
    using P = Pack<S, N>;
    const P t = tanh_(P(0.5) * x);
    return (t + t) / (P(1) - t);
}

// erf(x): x + x R(x^2) for |x| < 0.92, else sign(x) (1 - exp(R(|x|))); minimax polynomials R.
template <typename S, int N>
KAN_FN Pack<S, N> erf_(Pack<S, N> x) {
    using P = Pack<S, N>;
    if constexpr (sizeof(S) == 8) {
        return lanewise(x, [](S value) { return std::erf(value); });
    } else {
        const P t = abs_(x), s = x * x;
        P far = P(-1.72853470e-5) * t + P(3.83197126e-4);
        far = far * s + (P(-3.88396438e-3) * t + P(2.42546219e-2));
        far = far * t + P(-1.06777877e-1);
        far = far * t + P(-6.34846687e-1);
        far = far * t + P(-1.28717512e-1);
        far = P(1) - exp_(far * t - t);
        P near = P(-5.96761703e-4);
        near = near * s + P(4.99119423e-3);
        near = near * s + P(-2.67681349e-2);
        near = near * s + P(1.12819925e-1);
        near = near * s + P(-3.76125336e-1);
        near = near * s + P(1.28379166e-1);
        near = near * x + x;
        return select_(t > P(0.927734375), select_(x < P(0), -far, far), near);
    }
}

template <typename S, int N>
KAN_FN Pack<S, N> log1p_(Pack<S, N> x) {
    return lanewise(x, [](S value) { return std::log1p(value); });
}

template <typename S, int N>
KAN_FN Pack<S, N> floor_(Pack<S, N> x) {
    using P = Pack<S, N>;
    for (int i = 0; i < N; ++i) x.v[i] = std::floor(x.v[i]);
    return P(x.v);
}

// sin(x + quarter pi/2): r = x - n pi/2 in three parts, n = round(x 2/pi); sin(r) or cos(r) by
// Cephes' polynomials, and a sign, by n + quarter modulo 4.
template <int N>
KAN_FN Pack<float, N> wave(Pack<float, N> x, int quarter) {
    using P = Pack<float, N>;
    using L = Numbers<float>;
    const P shifted = x * P(0.63661977236758134308) + P(L::rounder), n = shifted - P(L::rounder);
    P r = x - n * P(1.5703125);
    r = r - n * P(4.837512969970703125e-4);
    r = r - n * P(7.549789948768648e-8);
    const P s = r * r;
    const P sine = ((P(-1.9515295891e-4) * s + P(8.3321608736e-3)) * s + P(-1.6666654611e-1)) * s * r + r;
    const P cosine =
        ((P(2.443315711809948e-5) * s + P(-1.388731625493765e-3)) * s + P(4.166664568298827e-2)) *
            (s * s) - P(0.5) * s + P(1);
    const auto turn = (typename Bits<float, N>::Vector)shifted.v + quarter;
    const P value = select_((turn & 1) != 0, cosine, sine);
    return select_((turn & 2) != 0, -value, value);
}

template <typename S, int N>
KAN_FN bool beyond(Pack<S, N> x, double limit) {
    bool any = false;
    for (int i = 0; i < N; ++i) any |= !(std::fabs(x.v[i]) <= S(limit));
    return any;
}

template <typename S, int N>
KAN_FN Pack<S, N> sin_(Pack<S, N> x) {
    if constexpr (sizeof(S) == 4) {
        if (!beyond(x, Numbers<float>::angle_limit)) return wave(x, 0);
    }
    return lanewise(x, [](S value) { return std::sin(value); });
}

template <typename S, int N>
KAN_FN Pack<S, N> cos_(Pack<S, N> x) {
    if constexpr (sizeof(S) == 4) {
        if (!beyond(x, Numbers<float>::angle_limit)) return wave(x, 1);
    }
    return lanewise(x, [](S value) { return std::cos(value); });
}

}  // namespace kan
