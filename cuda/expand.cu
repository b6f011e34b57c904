// The expansion of every element into functions of it, and its gradient.
//
//   e = [base(x), phi_1(u), ..., phi_M(u)]                       forward, TOTAL = BASE + M values
//   dx = g_base base'(x),  du = sum_j g_j dphi_j/du              backward; u is x unless SEPARATE
//   dshape_s = sum over elements of sum_j g_j dphi_j/dshape_s
//
// Macros: KAN_BASIS, a functor of bases.cuh, with its own macros; KAN_BASE, a struct of
// activations.cuh, if there is a base; KAN_SEPARATE if the functions read u and the base reads x.
// Element (image, s) of x, image = b C + c, owns in e
//   FLAT      (image TOTAL + m) P + place(s)                     contiguous
//   LAST      ((b P + place(s)) C + c) TOTAL + m                 channels last in memory
// where P counts the padded positions of e and place(s) skips those that the padding adds.
// Minimum traffic, which is reached: forward x once, e once; backward x and g once, dx once (and e
// once, if it is written anew for the gradient of the weight).
#include "bases.cuh"
#include "memory.cuh"
#include "reduce.cuh"

#if defined(KAN_BASE)
#define KAN_HAS_BASE 1
#else
#define KAN_HAS_BASE 0
#define KAN_BASE Identity
#endif
#if defined(KAN_SEPARATE)
#define KAN_SEPARATE_U 1
#else
#define KAN_SEPARATE_U 0
#endif

namespace kan {

// FLAT and LAST as above. COLUMNS is LAST for a shape with a row per channel: a thread stays with
// one channel.
enum Layout { FLAT = 0, LAST = 1, COLUMNS = 2 };

constexpr int at_least_one(int n) { return n > 0 ? n : 1; }

template <class A>
struct Element {
    using Basis = KAN_BASIS<A>;
    static constexpr int BASE = KAN_HAS_BASE, M = Basis::M, S = Basis::S, TOTAL = BASE + M;

    static __device__ __forceinline__ void expand(A x, A u, const A* shape, A (&e)[TOTAL]) {
        A phi[at_least_one(M)];
        if (BASE) e[0] = KAN_BASE::value(x);
        Basis::values(u, shape, phi);
#pragma unroll
        for (int j = 0; j < M; j++) e[BASE + j] = phi[j];
    }
    // On entry e holds the gradient of e, on return e itself.
    static __device__ __forceinline__ void pull_back(A x, A u, const A* shape, A (&e)[TOTAL],
                                                     A* grad_shape, A& dx, A& du) {
        A g[at_least_one(M)], phi[at_least_one(M)], slope;
#pragma unroll
        for (int j = 0; j < M; j++) g[j] = e[BASE + j];
        dx = 0;
        if (BASE) {
            const A value = KAN_BASE::both(x, slope);
            dx = e[0] * slope;
            e[0] = value;
        }
        du = Basis::pull_back(u, shape, g, grad_shape, phi);
#pragma unroll
        for (int j = 0; j < M; j++) e[BASE + j] = phi[j];
    }
};

template <class Index>
struct Sizes {
    Index positions, channels, rows, padded_positions, height, width, padded_height, padded_width;

    // Where position s of x stands among the padded positions of e.
    template <bool PADDED>
    __device__ __forceinline__ Index place(Index s) const {
        if (!PADDED) return s;
        const Index line = s / width, plane = line / height;
        return (plane * padded_height + line % height) * padded_width + s % width;
    }
    // The first element of e that belongs to element i of x.
    template <int LAYOUT, bool PADDED>
    __device__ __forceinline__ Index target(Index i, int total) const {
        if (LAYOUT == FLAT) {
            const Index image = i / positions;
            return image * total * padded_positions + place<PADDED>(i % positions);
        }
        if (!PADDED) return i * total;
        const Index pixel = i / channels;
        const Index place_in_e = pixel / positions * padded_positions + place<true>(pixel % positions);
        return (place_in_e * channels + i % channels) * total;
    }
    template <int LAYOUT>
    __device__ __forceinline__ Index row(Index i) const {
        if (rows == 1) return 0;
        return (LAYOUT == FLAT ? i / positions : i) % rows;
    }
};

// The TOTAL values of V elements, in packs as they stand in memory.
template <class T, int V, int TOTAL, bool LAST_IN_MEMORY>
struct Block {
    Pack<T, V> pack[TOTAL];

    __device__ __forceinline__ T& value(int v, int m) {
        const int place = v * TOTAL + m;
        return LAST_IN_MEMORY ? pack[place / V].lane[place % V] : pack[m].lane[v];
    }
    template <class Index>
    __device__ __forceinline__ void read(const T* e, Index stride) {
#pragma unroll
        for (int m = 0; m < TOTAL; m++) pack[m] = load<V>(e + (LAST_IN_MEMORY ? V : stride) * m);
    }
    template <class Index>
    __device__ __forceinline__ void write(T* e, Index stride) const {
#pragma unroll
        for (int m = 0; m < TOTAL; m++) store(e + (LAST_IN_MEMORY ? V : stride) * m, pack[m]);
    }
};

template <int S, class A>
__device__ __forceinline__ void read_shape(const A* shape, A (&own)[at_least_one(S)]) {
#pragma unroll
    for (int s = 0; s < S; s++) own[s] = shape[s];
}

template <class X, class T, class Index, int V, int LAYOUT, bool PADDED>
__global__ void __launch_bounds__(KAN_THREADS, 1)
expand_forward(const X* __restrict__ x, const X* __restrict__ u,
               const typename Wide<X>::type* __restrict__ shape, T* __restrict__ e, Index packs,
               Index positions, Index channels, Index rows, Index padded_positions, Index height,
               Index width, Index padded_height, Index padded_width) {
    using A = typename Wide<X>::type;
    using Maps = Element<A>;
    const Sizes<Index> sizes{positions,        channels, rows,          padded_positions,
                             height,           width,    padded_height, padded_width};
    A own[at_least_one(Maps::S)];
    if (rows == 1) read_shape<Maps::S>(shape, own);
    for (Index p = static_cast<Index>(blockIdx.x) * KAN_THREADS + threadIdx.x; p < packs;
         p += static_cast<Index>(gridDim.x) * KAN_THREADS) {
        const Index i = p * V;
        const Pack<X, V> xs = load<V>(x + i), us = KAN_SEPARATE_U ? load<V>(u + i) : xs;
        Block<T, V, Maps::TOTAL, LAYOUT != FLAT> block;
#pragma unroll
        for (int v = 0; v < V; v++) {
            A maps[Maps::TOTAL];
            if (Maps::S && rows > 1 && (LAYOUT != FLAT || v == 0))
                read_shape<Maps::S>(shape + sizes.template row<LAYOUT>(i + v) * Maps::S, own);
            Maps::expand(widen(xs.lane[v]), widen(us.lane[v]), own, maps);
#pragma unroll
            for (int m = 0; m < Maps::TOTAL; m++) block.value(v, m) = static_cast<T>(maps[m]);
        }
        block.write(e + sizes.template target<LAYOUT, PADDED>(i, Maps::TOTAL), padded_positions);
    }
}

// The elements of one row of the shape, pack by pack.
template <class Index, int V, int LAYOUT>
struct RowLoop {
    Index row, first, step, count, inner;

    __device__ RowLoop(const Sizes<Index>& sizes, Index packs) {
        if (LAYOUT == COLUMNS) {  // 32 neighbouring channels, KAN_THREADS / 32 pixels at a time
            const Index tiles = (sizes.channels + 31) / 32;
            row = blockIdx.x % tiles * 32 + threadIdx.x % 32;
            first = blockIdx.x / tiles * WARPS + threadIdx.x / 32;
            step = gridDim.x / tiles * WARPS;
            count = row < sizes.channels ? packs / sizes.channels : 0;
            return;
        }
        const Index blocks = gridDim.x / sizes.rows;  // of one row
        row = blockIdx.x / blocks;
        first = blockIdx.x % blocks * KAN_THREADS + threadIdx.x;
        step = blocks * KAN_THREADS;
        count = packs / sizes.rows;
        inner = sizes.positions / V;
    }
    // The first element of pack p of this row.
    __device__ __forceinline__ Index element(Index p, const Sizes<Index>& sizes) const {
        if (LAYOUT == COLUMNS) return p * sizes.channels + row;
        if (sizes.rows == 1) return p * V;
        return ((p / inner * sizes.rows + row) * inner + p % inner) * V;
    }
};

// Adds the sums over a block of each thread's gradient of the shape, one atomic per block and
// coefficient, to sums (rows, S); with STORE they go to sums (blocks, S). COLUMNS: a block has 32
// rows, one per lane: sums (channels, S), with STORE (blocks / tiles, channels, S).
template <int S, int LAYOUT, bool STORE, class A, class Index>
__device__ __forceinline__ void reduce_shape(A (&grad)[S], double* sums, Index row, Index channels) {
    if (LAYOUT == COLUMNS) {
        KAN_SHARED(double, column, KAN_THREADS);
        const size_t chunk = STORE ? blockIdx.x / ((channels + 31) / 32) : 0;
        for (int s = 0; s < S; s++) {
            column[threadIdx.x] = grad[s];
            __syncthreads();
            double total = 0;
            if (threadIdx.x < 32)
                for (int w = 0; w < WARPS; w++) total += column[w * 32 + threadIdx.x];
            __syncthreads();
            if (threadIdx.x >= 32 || row >= channels) continue;
            double* target = sums + (chunk * channels + row) * S + s;
            if (STORE)
                *target = total;
            else
                atomicAdd(target, total);
        }
        return;
    }
    constexpr int CHUNK = S < 64 ? S : 64;  // sums at a time: what shared memory holds
    KAN_SHARED(double, shared, CHUNK * WARPS);
    const size_t owner = STORE ? static_cast<size_t>(blockIdx.x) : static_cast<size_t>(row);
#pragma unroll
    for (int first = 0; first < S; first += CHUNK) {
        A part[CHUNK];
#pragma unroll
        for (int j = 0; j < CHUNK; j++) part[j] = first + j < S ? grad[first + j] : A(0);
        const double total = block_sum(part, shared);
        if (S > CHUNK) __syncthreads();  // these sums are read
        const int s = first + threadIdx.x;
        if (threadIdx.x >= CHUNK || s >= S) continue;
        if (STORE)
            sums[owner * S + s] = total;
        else
            atomicAdd(sums + owner * S + s, total);
    }
}

// On entry e holds the gradient of e; with REFILL it holds e on return. A gradient that is not
// wanted is a null pointer.
template <class X, class T, class Index, int V, int LAYOUT, bool PADDED, bool REFILL, bool STORE>
__global__ void __launch_bounds__(KAN_THREADS, 1)
expand_backward(const X* __restrict__ x, const X* __restrict__ u,
                const typename Wide<X>::type* __restrict__ shape, T* e, X* __restrict__ grad_x,
                X* __restrict__ grad_u, double* __restrict__ sums, Index packs,
                Index positions, Index channels, Index rows, Index padded_positions, Index height,
                Index width, Index padded_height, Index padded_width) {
    using A = typename Wide<X>::type;
    using Maps = Element<A>;
    const Sizes<Index> sizes{positions,        channels, rows,          padded_positions,
                             height,           width,    padded_height, padded_width};
    const RowLoop<Index, V, LAYOUT> loop(sizes, packs);
    A own[at_least_one(Maps::S)], grad_shape[at_least_one(Maps::S)] = {};
    if (loop.count) read_shape<Maps::S>(shape + loop.row % rows * Maps::S, own);
    for (Index p = loop.first; p < loop.count; p += loop.step) {
        const Index i = loop.element(p, sizes);
        T* target = e + sizes.template target<LAYOUT, PADDED>(i, Maps::TOTAL);
        Pack<X, V> xs = load<V>(x + i), us = KAN_SEPARATE_U ? load<V>(u + i) : xs;
        Block<T, V, Maps::TOTAL, LAYOUT != FLAT> block;
        block.read(target, padded_positions);
#pragma unroll
        for (int v = 0; v < V; v++) {
            A maps[Maps::TOTAL], dx, du;
#pragma unroll
            for (int m = 0; m < Maps::TOTAL; m++) maps[m] = widen(block.value(v, m));
            Maps::pull_back(widen(xs.lane[v]), widen(us.lane[v]), own, maps, grad_shape, dx, du);
            xs.lane[v] = static_cast<X>(KAN_SEPARATE_U ? dx : dx + du);
            us.lane[v] = static_cast<X>(du);
#pragma unroll
            for (int m = 0; m < Maps::TOTAL; m++) block.value(v, m) = static_cast<T>(maps[m]);
        }
        if (grad_x) store(grad_x + i, xs);
        if (KAN_SEPARATE_U && grad_u) store(grad_u + i, us);
        if (REFILL) block.write(target, padded_positions);
    }
    if (Maps::S && sums)
        reduce_shape<at_least_one(Maps::S), LAYOUT, STORE>(grad_shape, sums, loop.row, channels);
}

}  // namespace kan
