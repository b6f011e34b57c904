// A wavelet for every edge (o, c) from channel c to output o, and its gradient.
//
//   taps[o, k, n] = sum_c w[o, k, c] psi(u),  u = (x[c, n] - tau[o, c]) / s[o, c]
//   G = sum_k w[o, k, c] g[o, k, n]           the gradient of psi(u)
//   dx[c, n]     = sum_o G psi'(u) / s
//   dw[o, k, c]  = sum_n g[o, k, n] psi(u)
//   dtau[o, c]   = -sum_n G psi'(u) / s,   ds[o, c] = -sum_n G psi'(u) u / s
//
// n counts samples and positions; k counts the positions of the convolution's window ("taps"), which
// the host shifts and adds up, so that a wavelet is computed once for all of them. inverse = 1 / s
// and shift = -tau / s: u = x inverse + shift. Macros: KAN_WAVELET, a struct of wavelets.cuh;
// KAN_TAPS, the number of taps. No sum needs an atomic: results do not vary from run to run.
// Operations per edge and n: forward about 10 + 2 TAPS, backward about 2 (20 + 2 TAPS) + 2 TAPS.
#include "memory.cuh"
#include "reduce.cuh"
#include "wavelets.cuh"

namespace kan {

constexpr int TAPS = KAN_TAPS;
// Edges of one output whose numbers a block keeps in shared memory at a time.
constexpr int EDGES = TAPS > 64 ? 8 : 32;

// A thread computes all taps of one n; the block shares one output.
template <class A, class Index>
__global__ void __launch_bounds__(KAN_THREADS, 1)
wavelet_forward(const A* __restrict__ x, const A* __restrict__ weight,
                const A* __restrict__ inverse, const A* __restrict__ shift, A* __restrict__ taps,
                Index columns, int channels, int outputs) {
    KAN_SHARED(A, edge, EDGES * (TAPS + 2));
    const int blocks = gridDim.x / outputs, o = blockIdx.x / blocks;
    const Index n = static_cast<Index>(blockIdx.x % blocks) * KAN_THREADS + threadIdx.x;
    A sum[TAPS] = {};
    for (int first = 0; first < channels; first += EDGES) {
        const int count = channels - first < EDGES ? channels - first : EDGES;
        __syncthreads();  // the edges before are used up
        for (int i = threadIdx.x; i < count * (TAPS + 2); i += KAN_THREADS) {
            const int k = i / count, c = first + i % count;
            const A* source = k < TAPS ? weight + (o * TAPS + k) * channels
                                       : (k == TAPS ? inverse : shift) + o * channels;
            edge[(c - first) * (TAPS + 2) + k] = source[c];
        }
        __syncthreads();  // the edges are there
        if (n < columns)
            for (int c = 0; c < count; c++) {
                const A* e = edge + c * (TAPS + 2);
                const A u = x[(first + c) * columns + n] * e[TAPS] + e[TAPS + 1];
                const A psi = KAN_WAVELET::value(within_reach<KAN_WAVELET>(u));
#pragma unroll
                for (int k = 0; k < TAPS; k++) sum[k] += e[k] * psi;
            }
    }
    if (n >= columns) return;
#pragma unroll
    for (int k = 0; k < TAPS; k++) taps[(static_cast<Index>(o) * TAPS + k) * columns + n] = sum[k];
}

// G, psi(u) and psi'(u) / s of one edge.
template <class A>
struct Edge {
    A u, psi, slope;

    __device__ __forceinline__ Edge(A x, const A* weight, A inverse, A shift, const A (&g)[TAPS],
                                    int channels) {
        A G = 0;
#pragma unroll
        for (int k = 0; k < TAPS; k++) G += weight[k * channels] * g[k];
        u = within_reach<KAN_WAVELET>(x * inverse + shift);
        psi = KAN_WAVELET::both(u, slope);
        slope *= G * inverse;
    }
};

template <class A, class Index>
__device__ __forceinline__ void read_gradient(const A* grad_taps, Index columns, A (&g)[TAPS]) {
#pragma unroll
    for (int k = 0; k < TAPS; k++) g[k] = grad_taps[k * columns];
}

// Adds dx of these outputs to grad_x. A thread owns CHANNELS channels of one n.
template <class A, class Index, int CHANNELS>
__global__ void __launch_bounds__(KAN_THREADS, 1)
wavelet_backward_input(const A* __restrict__ x, const A* __restrict__ weight,
                       const A* __restrict__ inverse, const A* __restrict__ shift,
                       const A* __restrict__ grad_taps, A* __restrict__ grad_x, Index columns,
                       int channels, int outputs) {
    const int tiles = (channels + CHANNELS - 1) / CHANNELS, first = blockIdx.x % tiles * CHANNELS;
    const Index n = static_cast<Index>(blockIdx.x / tiles) * KAN_THREADS + threadIdx.x;
    if (n >= columns) return;
    A values[CHANNELS], sum[CHANNELS] = {};
#pragma unroll
    for (int j = 0; j < CHANNELS; j++)
        values[j] = first + j < channels ? x[(first + j) * columns + n] : A(0);
    for (int o = 0; o < outputs; o++) {
        A g[TAPS];
        read_gradient(grad_taps + static_cast<Index>(o) * TAPS * columns + n, columns, g);
#pragma unroll
        for (int j = 0; j < CHANNELS; j++) {
            const int c = first + j, e = o * channels + c;
            if (c >= channels) continue;
            sum[j] += Edge<A>(values[j], weight + o * TAPS * channels + c, inverse[e], shift[e], g,
                              channels).slope;
        }
    }
#pragma unroll
    for (int j = 0; j < CHANNELS; j++)
        if (first + j < channels) grad_x[(first + j) * columns + n] += sum[j];
}

// dw, ds and dtau: a block owns the CHANNELS edges from neighbouring channels to one output.
template <class A, class Index, int CHANNELS>
__global__ void __launch_bounds__(KAN_THREADS, 1)
wavelet_backward_edges(const A* __restrict__ x, const A* __restrict__ weight,
                       const A* __restrict__ inverse, const A* __restrict__ shift,
                       const A* __restrict__ grad_taps, A* __restrict__ grad_weight,
                       A* __restrict__ grad_scale, A* __restrict__ grad_shift, Index columns,
                       int channels, int outputs) {
    constexpr int COUNT = TAPS + 2;
    KAN_SHARED(double, shared, CHANNELS * COUNT * WARPS);
    const int tiles = (channels + CHANNELS - 1) / CHANNELS, first = blockIdx.x % tiles * CHANNELS;
    const int o = blockIdx.x / tiles;
    A sum[CHANNELS * COUNT] = {};
    for (Index n = threadIdx.x; n < columns; n += KAN_THREADS) {
        A g[TAPS];
        read_gradient(grad_taps + static_cast<Index>(o) * TAPS * columns + n, columns, g);
#pragma unroll
        for (int j = 0; j < CHANNELS; j++) {
            const int c = first + j, i = o * channels + c;
            if (c >= channels) continue;
            const Edge<A> edge(x[c * columns + n], weight + o * TAPS * channels + c, inverse[i],
                               shift[i], g, channels);
#pragma unroll
            for (int k = 0; k < TAPS; k++) sum[j * COUNT + k] += g[k] * edge.psi;
            sum[j * COUNT + TAPS] -= edge.slope * edge.u;
            sum[j * COUNT + TAPS + 1] -= edge.slope;
        }
    }
    const A total = static_cast<A>(block_sum(sum, shared));
    const int c = first + threadIdx.x / COUNT, k = threadIdx.x % COUNT;
    if (threadIdx.x >= CHANNELS * COUNT || c >= channels) return;
    if (k < TAPS)
        grad_weight[(o * TAPS + k) * channels + c] = total;
    else
        (k == TAPS ? grad_scale : grad_shift)[o * channels + c] = total;
}

}  // namespace kan
