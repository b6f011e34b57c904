// K packs of W lanes as W groups of K neighbours in memory, and back: lane i of pack m is number
// i K + m of the groups. Where a processor has AVX-512, one instruction picks lanes out of two
// registers; K of them make a register from K others, which is far less than a transfer for every
// number as long as K is small.
#pragma once

#include "storage.h"

namespace kan {

#if defined(__AVX512F__)
constexpr int kMostPicked = 16;
#else
constexpr int kMostPicked = 0;
#endif

// Lanes for __builtin_shuffle(gathered, next): below N those gathered so far, else those of `next`.
template <int K, typename P>
struct Picks {
    static constexpr int N = P::lanes;
    using Int = typename Numbers<typename P::Scalar>::Int;
    Int together[K][K][N] = {}, apart[K][K][N] = {};  // [the register made][the one picked from]

    constexpr Picks() {
        for (int made = 0; made < K; ++made) {
            for (int from = 0; from < K; ++from) {
                for (int l = 0; l < N; ++l) {
                    const int group = (made * N + l) / K, pack = (made * N + l) % K;
                    together[made][from][l] = pack == from ? N + group : l;
                    const int number = l * K + made;
                    apart[made][from][l] = number / N == from ? N + number % N : l;
                }
            }
        }
    }
};

template <int K, typename P>
constexpr Picks<K, P> kPicks{};

template <int K, typename P, typename Int>
KAN_FN P picked(const P (&from)[K], const Int (&lanes)[K][P::lanes]) {
    typename Bits<typename P::Scalar, P::lanes>::Vector choice;
    P made = P(0);
    KAN_UNROLL
    for (int i = 0; i < K; ++i) {
        std::memcpy(&choice, lanes[i], sizeof(choice));
        made.v = __builtin_shuffle(made.v, from[i].v, choice);
    }
    return made;
}

// The first `count` groups from `from`; other lanes are anything.
template <int K, typename P, typename Stored>
KAN_FN void load_groups(const Stored* from, P (&packs)[K], int count) {
    constexpr int W = P::lanes;
    if constexpr (K <= kMostPicked) {
        if (count == W) {
            P groups[K];
            KAN_UNROLL
            for (int k = 0; k < K; ++k) groups[k] = load<P>(from + k * W);
            KAN_UNROLL
            for (int m = 0; m < K; ++m) packs[m] = picked(groups, kPicks<K, P>.apart[m]);
            return;
        }
    }
    typename P::Scalar numbers[K][W] = {};
    for (int i = 0; i < count; ++i) {
        KAN_UNROLL
        for (int m = 0; m < K; ++m) numbers[m][i] = widen(from[i * K + m]);
    }
    KAN_UNROLL
    for (int m = 0; m < K; ++m) packs[m] = load<P>(numbers[m]);
}

template <int K, typename P, typename Stored>
KAN_FN void store_groups(const P (&packs)[K], Stored* to, int count) {
    constexpr int W = P::lanes;
    if constexpr (K <= kMostPicked) {
        if (count == W) {
            KAN_UNROLL
            for (int k = 0; k < K; ++k) {
                store(picked(packs, kPicks<K, P>.together[k]), to + k * W);
            }
            return;
        }
    }
    typename P::Scalar numbers[K][W];
    KAN_UNROLL
    for (int m = 0; m < K; ++m) store(packs[m], numbers[m]);
    for (int i = 0; i < count; ++i) {
        KAN_UNROLL
        for (int m = 0; m < K; ++m) narrow(numbers[m][i], to + i * K + m);
    }
}

}  // namespace kan
