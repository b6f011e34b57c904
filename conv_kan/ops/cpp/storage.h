// How numbers lie in memory: float, double, bfloat16 and half (IEEE binary16), read into and written
// from packs of float or double.
#pragma once

#include "pack.h"

namespace kan {

struct BFloat16 {
    uint16_t bits;
};

struct Half {
    uint16_t bits;
};

KAN_FN float as_number(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

KAN_FN uint32_t as_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

// The lanes of a pack of floats, their bits, and as many numbers of 2 bytes.
typedef float Floats __attribute__((vector_size(kPackBytes)));
typedef uint32_t Words __attribute__((vector_size(kPackBytes)));
typedef uint16_t Shorts __attribute__((vector_size(kPackBytes / 2)));

KAN_FN Floats as_number(Words bits) { return (Floats)bits; }
KAN_FN Words as_bits(Floats x) { return (Words)x; }

// Bits of a float from those of a short one and back, for one number (B = uint32_t) or many.
template <typename B>
KAN_FN B widen_bits(B bits, BFloat16) {
    return bits << 16;
}

// The exponent moves from a bias of 15 to one of 127 by a multiplication, which also normalises
// subnormal numbers; infinities and NaN get the largest exponent.
template <typename B>
KAN_FN B widen_bits(B bits, Half) {
    const B magnitude = (bits & 0x7fff) << 13, sign = (bits & 0x8000) << 16;
    const B finite = as_bits(as_number(magnitude) * 0x1p112f), special = magnitude | 0x7f800000;
    return sign | (magnitude >= 0x0f800000 ? special : finite);
}

// To the nearest, ties to even.
template <typename B>
KAN_FN B narrow_bits(B bits, BFloat16) {
    const B rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16, nan = B{} + 0x7fc0;
    return (bits & 0x7fffffff) > 0x7f800000 ? nan : rounded;
}

template <typename B>
KAN_FN B narrow_bits(B bits, Half) {
    const B sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
    // Subnormal halves: adding 0.5 leaves their bits, rounded, at the end of the mantissa.
    const B small = as_bits(as_number(size) + 0.5f) - 0x3f000000;
    const B normal = (size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13;
    const B infinity = B{} + 0x7c00, nan = B{} + 0x7e00;
    B half = size < 0x38800000 ? small : normal;
    half = size >= 0x477ff000 ? infinity : half;
    half = size > 0x7f800000 ? nan : half;
    return sign | half;
}

KAN_FN float widen(float x) { return x; }
KAN_FN double widen(double x) { return x; }

template <typename Short>
KAN_FN float widen(Short x) {
    return as_number(widen_bits(uint32_t(x.bits), x));
}

KAN_FN void narrow(float x, float* to) { *to = x; }
KAN_FN void narrow(double x, double* to) { *to = x; }

template <typename Short>
KAN_FN void narrow(float x, Short* to) {
    to->bits = uint16_t(narrow_bits(as_bits(x), Short{}));
}

template <typename P, typename Stored>
KAN_FN P load(const Stored* from) {
    P x;
    if constexpr (sizeof(Stored) == sizeof(typename P::Scalar)) {
        std::memcpy(&x.v, from, sizeof(x.v));
    } else if constexpr (sizeof(Stored) == 2 && sizeof(typename P::Scalar) == 4) {
        Shorts bits;
        std::memcpy(&bits, from, sizeof(bits));
        x.v = as_number(widen_bits(__builtin_convertvector(bits, Words), Stored{}));
    } else {
        for (int i = 0; i < P::lanes; ++i) x.v[i] = widen(from[i]);
    }
    return x;
}

// The first `count` lanes; the others get the first number too, or 0.
template <typename P, typename Stored>
KAN_FN P load(const Stored* from, int count, bool repeat) {
    P x = repeat ? P(double(widen(from[0]))) : P(0);
    for (int i = 0; i < count; ++i) x.v[i] = widen(from[i]);
    return x;
}

template <typename P, typename Stored>
KAN_FN void store(P x, Stored* to) {
    if constexpr (sizeof(Stored) == sizeof(typename P::Scalar)) {
        std::memcpy(to, &x.v, sizeof(x.v));
    } else if constexpr (sizeof(Stored) == 2 && sizeof(typename P::Scalar) == 4) {
        const auto bits = __builtin_convertvector(
            narrow_bits(as_bits(x.v), Stored{}), Shorts);
        std::memcpy(to, &bits, sizeof(bits));
    } else {
        for (int i = 0; i < P::lanes; ++i) narrow(x.v[i], to + i);
    }
}

template <typename P, typename Stored>
KAN_FN void store(P x, Stored* to, int count) {
    for (int i = 0; i < count; ++i) narrow(x.v[i], to + i);
}

}  // namespace kan
