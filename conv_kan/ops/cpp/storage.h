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

KAN_FN float widen(float x) { return x; }
KAN_FN double widen(double x) { return x; }

KAN_FN float from_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

KAN_FN uint32_t to_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

KAN_FN float widen(BFloat16 x) { return from_bits(uint32_t(x.bits) << 16); }

// The exponent moves from a bias of 15 to one of 127 by a multiplication, which also normalises
// subnormal numbers; infinities and NaN get the largest exponent.
KAN_FN float widen(Half x) {
    const uint32_t magnitude = (uint32_t(x.bits) & 0x7fff) << 13;
    const uint32_t sign = (uint32_t(x.bits) & 0x8000) << 16;
    const uint32_t finite = to_bits(from_bits(magnitude) * 0x1p112f);
    const uint32_t special = magnitude | 0x7f800000;
    return from_bits(sign | (magnitude >= 0x0f800000 ? special : finite));
}

KAN_FN void narrow(float x, float* to) { *to = x; }
KAN_FN void narrow(double x, double* to) { *to = x; }

// To the nearest, ties to even.
KAN_FN void narrow(float x, BFloat16* to) {
    const uint32_t bits = to_bits(x);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    to->bits = uint16_t((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

KAN_FN void narrow(float x, Half* to) {
    const uint32_t bits = to_bits(x), sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
    // Subnormal halves: adding 0.5 leaves their bits, rounded, at the end of the mantissa.
    const uint32_t small = to_bits(from_bits(size) + 0.5f) - 0x3f000000;
    const uint32_t normal = (size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13;
    uint32_t half = size < 0x38800000 ? small : normal;
    half = size >= 0x477ff000 ? 0x7c00 : half;
    half = size > 0x7f800000 ? 0x7e00 : half;
    to->bits = uint16_t(sign | half);
}

template <typename P, typename Stored>
KAN_FN P load(const Stored* from) {
    P x;
    if constexpr (sizeof(Stored) == sizeof(typename P::Scalar)) {
        std::memcpy(&x.v, from, sizeof(x.v));
    } else {
        typename P::Scalar wide[P::lanes];
        for (int i = 0; i < P::lanes; ++i) wide[i] = widen(from[i]);
        std::memcpy(&x.v, wide, sizeof(x.v));
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
    } else {
        for (int i = 0; i < P::lanes; ++i) narrow(x.v[i], to + i);
    }
}

template <typename P, typename Stored>
KAN_FN void store(P x, Stored* to, int count) {
    for (int i = 0; i < count; ++i) narrow(x.v[i], to + i);
}

}  // namespace kan
