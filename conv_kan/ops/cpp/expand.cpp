// The expansion of a tensor and its gradient, for one basis, one base function and one pair of
// dtypes, which are macros: KAN_FUNCTOR and its constants (cuda/bases.cuh), KAN_BASE or nothing,
// KAN_VALUE of x and KAN_STORED of the buffer. conv_kan/ops/plain/expand.py is the reference.
#include "bases.cuh"
#include "interleave.h"
#include "pages.h"
#include "parallel.h"

namespace {

using namespace kan;

using Value = KAN_VALUE;
using Stored = KAN_STORED;
using Number = decltype(widen(Value{}));
using P = Pack<Number, kPackBytes / sizeof(Number)>;
using Functor = KAN_FUNCTOR<P>;

constexpr int W = P::lanes;
constexpr int M = Functor::M;
constexpr int S = Functor::S;
#if defined(KAN_BASE)
constexpr int B = 1;
#else
constexpr int B = 0;
#endif
constexpr int at_least_one(int n) { return n > 0 ? n : 1; }
// Packs between two transfers of a float sum to a double one.
constexpr int kRun = 64;

}  // namespace

// Arguments of both operations; conv_kan/ops/cpp/expand.py fills it.
struct Call {
    const void* x;            // (batch, channels, *size)
    const void* u;            // as x: what the functions take; x itself if they take x
    const void* shape;        // (rows, S) of Number; channel c reads row c % rows
    void* buffer;             // (batch, channels * (B + M), *size padded)
    void* grad_x;             // as x, or null
    void* grad_u;             // as u; null if u is x or it is not asked for
    double* grad_shape;       // (threads, rows, S), zeros; or null
    long long batch, channels, size[3], padded[3], rows;
    long long channels_last;  // whether channels are the last in memory
    long long refill;         // whether the buffer holds the expansion on return
    Team team;
};

namespace {

// Where the numbers of a block of lanes begin: those of x are next to each other, those of the maps
// in planes or interleaved.
struct Block {
    const Value *x, *u;
    Stored* e;
    Value *grad_x, *grad_u;
    long long plane;  // from one map to the next, in planes
};

template <bool full>
KAN_FN P load_x(const Value* from, int count) {
    return full ? load<P>(from) : load<P>(from, count, true);
}

// The maps of a block: next to each other for every lane if `apart` (channels are the last in
// memory), else in planes.
template <bool full, bool apart>
KAN_FN void load_maps(const Block& at, P (&maps)[at_least_one(B + M)], int count) {
    if constexpr (apart) {
        load_groups(at.e, maps, full ? W : count);
    } else {
        KAN_UNROLL
        for (int m = 0; m < B + M; ++m) {
            const Stored* from = at.e + m * at.plane;
            maps[m] = full ? load<P>(from) : load<P>(from, count, false);
        }
    }
}

template <bool full, bool apart>
KAN_FN void store_maps(const P (&maps)[at_least_one(B + M)], const Block& at, int count) {
    if constexpr (apart) {
        store_groups(maps, at.e, full ? W : count);
    } else {
        KAN_UNROLL
        for (int m = 0; m < B + M; ++m) {
            Stored* to = at.e + m * at.plane;
            full ? store(maps[m], to) : store(maps[m], to, count);
        }
    }
}

template <bool full>
KAN_FN void store_x(P x, Value* to, int count) {
    if (to == nullptr) return;
    full ? store(x, to) : store(x, to, count);
}

template <bool full, bool apart>
KAN_FN void expand_block(const Call&, const Block& at, const P* shape, P*, int count) {
    P maps[at_least_one(B + M)], phi[at_least_one(M)];
    const P x = load_x<full>(at.x, count);
#if defined(KAN_BASE)
    maps[0] = KAN_BASE::value(x);
#endif
    Functor::values(at.u == at.x ? x : load_x<full>(at.u, count), shape, phi);
    KAN_UNROLL
    for (int j = 0; j < M; ++j) maps[B + j] = phi[j];
    store_maps<full, apart>(maps, at, count);
}

// dx = g_0 base'(x) + sum_j g_j dphi_j/dx, or its two parts for x and u.
template <bool full, bool apart>
KAN_FN void pull_back_block(
    const Call& call, const Block& at, const P* shape, P* grad_shape, int count) {
    P maps[at_least_one(B + M)], g[at_least_one(M)], phi[at_least_one(M)];
    const P x = load_x<full>(at.x, count);
    load_maps<full, apart>(at, maps, count);
    KAN_UNROLL
    for (int j = 0; j < M; ++j) g[j] = maps[B + j];
    P grad_x = P(0);
#if defined(KAN_BASE)
    P slope;
    const P base = KAN_BASE::both(x, slope);
    grad_x = maps[0] * slope;
    maps[0] = base;
#endif
    const bool same = at.u == at.x;
    const P u = same ? x : load_x<full>(at.u, count);
    const P grad_u = Functor::pull_back(u, shape, g, grad_shape, phi);
    store_x<full>(same ? grad_x + grad_u : grad_x, at.grad_x, count);
    store_x<full>(grad_u, at.grad_u, count);
    if (!call.refill) return;
    KAN_UNROLL
    for (int j = 0; j < M; ++j) maps[B + j] = phi[j];
    store_maps<full, apart>(maps, at, count);
}

template <bool backward, bool full, bool apart>
KAN_FN void block(const Call& call, const Block& at, const P* shape, P* grad_shape, int count) {
    if constexpr (backward) {
        pull_back_block<full, apart>(call, at, shape, grad_shape, count);
    } else {
        expand_block<full, apart>(call, at, shape, grad_shape, count);
    }
}

// The learned numbers of W channels from `first` on, and their gradients: one row for all lanes
// (`step` 0) or a row for each lane (1).
struct Shape {
    const Call& call;
    double* sums;
    P values[at_least_one(S)], grads[at_least_one(S)];

    Shape(const Call& call_, int thread) : call(call_) {
        sums = call.grad_shape ? call.grad_shape + thread * call.rows * S : nullptr;
        for (int s = 0; s < S; ++s) grads[s] = P(0);
    }

    // A division for every row: it takes as long as some packs of a basis.
    long long row(long long c) const { return c % call.rows * S; }

    void read(long long first, int step, int count) {
        const Number* shape = static_cast<const Number*>(call.shape);
        const Number* from = shape + row(first);
        for (int i = 0; i < W; ++i) {
            if (step && 0 < i && i < count) from = shape + row(first + i);
            for (int s = 0; s < S; ++s) values[s].v[i] = from[s];
        }
    }

    void gather(long long first, int step, int count) {
        if (sums == nullptr) return;
        double* to = sums + row(first);
        for (int i = 0; i < (step ? count : W); ++i) {
            if (step) to = sums + row(first + i);
            for (int s = 0; s < S; ++s) to[s] += grads[s].v[i];
        }
        for (int s = 0; s < S; ++s) grads[s] = P(0);
    }
};

// n neighbours that read one row of the shape, that of channel c: positions of one channel, or, with
// the maps of each `apart`, positions and channels.
template <bool backward, bool apart>
void along_row(const Call& call, Block at, long long c, long long n, Shape& shape) {
    int packs = 0;
    for (long long i = 0; i < n; i += W) {
        if (i + W <= n) {
            block<backward, true, apart>(call, at, shape.values, shape.grads, W);
        } else {
            block<backward, false, apart>(call, at, shape.values, shape.grads, int(n - i));
        }
        at.x += W, at.u += W, at.e += apart ? W * (B + M) : W;
        if (at.grad_x) at.grad_x += W;
        if (at.grad_u) at.grad_u += W;
        if (S && backward && (++packs % kRun == 0 || i + W >= n)) shape.gather(c, 0, W);
    }
}

// W channels, from c on, of n neighbouring positions.
template <bool backward>
void along_channels(const Call& call, Block at, long long c, long long n, Shape& shape) {
    const int count = call.channels - c < W ? int(call.channels - c) : W;
    if (S) shape.read(c, 1, count);
    for (long long i = 0; i < n; ++i) {
        if (count == W) {
            block<backward, true, true>(call, at, shape.values, shape.grads, W);
        } else {
            block<backward, false, true>(call, at, shape.values, shape.grads, count);
        }
        at.x += call.channels, at.u += call.channels, at.e += call.channels * (B + M);
        if (at.grad_x) at.grad_x += call.channels;
        if (at.grad_u) at.grad_u += call.channels;
    }
    if (S && backward) shape.gather(c, 1, count);
}

Block block_at(const Call& call, long long input, long long output) {
    const auto shift = [input](void* p) { return p ? static_cast<Value*>(p) + input : nullptr; };
    return {static_cast<const Value*>(call.x) + input, static_cast<const Value*>(call.u) + input,
            static_cast<Stored*>(call.buffer) + output, shift(call.grad_x), shift(call.grad_u),
            0};
}

// Row r of the image (sample, depth, height) begins at this position of the buffer.
long long padded_row(const Call& call, long long r) {
    const long long h = r % call.size[1], rest = r / call.size[1];
    const long long d = rest % call.size[0], sample = rest / call.size[0];
    return ((sample * call.padded[0] + d) * call.padded[1] + h) * call.padded[2];
}

template <bool backward>
void planes(const Call& call, int thread) {
    const long long count = call.batch * call.channels, rows = call.size[0] * call.size[1];
    const long long plane = call.padded[0] * call.padded[1] * call.padded[2];
    Shape shape(call, thread);
    const long long last = count * (thread + 1) / call.team.threads;
    for (long long p = count * thread / call.team.threads; p < last; ++p) {
        const long long c = p % call.channels;
        if (S) shape.read(c, 0, W);
        for (long long r = 0; r < rows; ++r) {
            Block at = block_at(call, (p * rows + r) * call.size[2],
                                p * (B + M) * plane + padded_row(call, r));
            at.plane = plane;
            along_row<backward, false>(call, at, c, call.size[2], shape);
        }
    }
}

template <bool backward>
void positions(const Call& call, int thread) {
    const long long width = call.size[2];
    const long long total = call.batch * call.size[0] * call.size[1] * width;
    const long long last = total * (thread + 1) / call.team.threads;
    Shape shape(call, thread);
    const bool one_row = S == 0 || call.rows == 1;
    if (S && one_row) shape.read(0, 0, W);
    for (long long p = total * thread / call.team.threads, n; p < last; p += n) {
        const long long i = p % width;
        n = one_row ? kRun * W : kRun;
        if (n > width - i) n = width - i;
        if (n > last - p) n = last - p;
        const long long to = (padded_row(call, p / width) + i) * call.channels * (B + M);
        if (one_row) {
            const Block at = block_at(call, p * call.channels, to);
            along_row<backward, true>(call, at, 0, n * call.channels, shape);
            continue;
        }
        for (long long c = 0; c < call.channels; c += W) {
            const Block at = block_at(call, p * call.channels + c, to + c * (B + M));
            along_channels<backward>(call, at, c, n, shape);
        }
    }
}

template <bool backward>
void work(const Call& call, int thread) {
    call.channels_last ? positions<backward>(call, thread) : planes<backward>(call, thread);
}

}  // namespace

extern "C" void kan_expand(Call* call) {
    const long long plane = call->padded[0] * call->padded[1] * call->padded[2];
    want_large_pages(
        call->buffer, call->batch * call->channels * (B + M) * plane * (long long)sizeof(Stored));
    launch<Call, work<false>>(call);
}

extern "C" void kan_pull_back(Call* call) {
    const long long plane = call->size[0] * call->size[1] * call->size[2];
    const long long bytes = call->batch * call->channels * plane * (long long)sizeof(Value);
    want_large_pages(call->grad_x, bytes);
    want_large_pages(call->grad_u, bytes);
    launch<Call, work<true>>(call);
}
