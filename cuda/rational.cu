// Rational functions with one denominator per group of channels, and their gradient; quotient.cuh has
// the formulas.
//
// x is (outer, groups, inner): inner = C / groups with the channels last, C / groups * positions
// with the channels first. Every block serves one group, so its coefficients stay in registers.
// Minimum traffic, which is reached: forward x once, y once; backward x and dy once, dx once.
// Operations per element: forward about 5 (N + D), backward about 15 (N + D).
#include "memory.cuh"
#include "quotient.cuh"
#include "reduce.cuh"

namespace kan {

// The elements of a group, pack by pack.
template <class Index>
struct GroupLoop {
    int group;
    Index first, step, packs;

    __device__ GroupLoop(int groups, Index outer, Index inner_packs) {
        const int blocks = gridDim.x / groups;  // of one group
        group = blockIdx.x / blocks;
        first = static_cast<Index>(blockIdx.x % blocks) * KAN_THREADS + threadIdx.x;
        step = static_cast<Index>(blocks) * KAN_THREADS;
        packs = outer * inner_packs;
    }
    // The number of pack p of this group among all packs.
    __device__ Index place(Index p, int groups, Index inner_packs) const {
        return (p / inner_packs * groups + group) * inner_packs + p % inner_packs;
    }
};

template <class T, class Index, int V, int N, int D>
__global__ void __launch_bounds__(KAN_THREADS, 1)
rational_forward(const T* __restrict__ x, const typename Wide<T>::type* __restrict__ numerator,
                 const typename Wide<T>::type* __restrict__ denominator, T* __restrict__ y,
                 Index outer, Index inner_packs, int groups) {
    using A = typename Wide<T>::type;
    const GroupLoop<Index> loop(groups, outer, inner_packs);
    const Quotient<A, N, D> F(numerator, denominator + loop.group * D);
    for (Index p = loop.first; p < loop.packs; p += loop.step) {
        const Index place = loop.place(p, groups, inner_packs) * V;
        Pack<T, V> values = load<V>(x + place);
#pragma unroll
        for (int v = 0; v < V; v++) {
            values.lane[v] = static_cast<T>(F.value(widen(values.lane[v])));
        }
        store(y + place, values);
    }
}

// The gradients of a and b are summed in two stages: here in registers and over the block, which
// leaves one number per coefficient in `sums` (blocks, N + D); the caller adds those of a group in
// their order, so that results do not vary from run to run.
template <class T, class Index, int V, int N, int D>
__global__ void __launch_bounds__(KAN_THREADS, 1)
rational_backward(const T* __restrict__ x, const T* __restrict__ grad_y,
                  const typename Wide<T>::type* __restrict__ numerator,
                  const typename Wide<T>::type* __restrict__ denominator, T* __restrict__ grad_x,
                  double* __restrict__ sums, Index outer, Index inner_packs,
                  int groups) {
    using A = typename Wide<T>::type;
    KAN_SHARED(double, shared, (N + D) * WARPS);
    const GroupLoop<Index> loop(groups, outer, inner_packs);
    const Quotient<A, N, D> F(numerator, denominator + loop.group * D);
    A sum[N + D] = {};
    for (Index p = loop.first; p < loop.packs; p += loop.step) {
        const Index place = loop.place(p, groups, inner_packs) * V;
        Pack<T, V> values = load<V>(x + place);
        const Pack<T, V> grads = load<V>(grad_y + place);
#pragma unroll
        for (int v = 0; v < V; v++) {
            const A z = widen(values.lane[v]), g = widen(grads.lane[v]);
            A slope, inverse;
            const A y = F.both(z, slope, inverse);
            F.add_gradients(z, g * inverse, y, sum, sum + N);
            values.lane[v] = static_cast<T>(g * slope);
        }
        store(grad_x + place, values);
    }
    const double total = block_sum(sum, shared);
    if (threadIdx.x < N + D) sums[static_cast<size_t>(blockIdx.x) * (N + D) + threadIdx.x] = total;
}

}  // namespace kan
