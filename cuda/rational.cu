// Rational functions with one denominator per group of channels, and their gradient.
//
//   F = P / Q,  P = sum_{m=0..N-1} a_m x^m,  Q = 1 + sum_{m=1..D} |b_m| |x|^m
//   dF/dx   = (P' - S F) / Q,  S = sgn(x) sum_m m |b_m| |x|^(m-1)
//   dF/da_m = x^m / Q
//   dF/db_m = -sgn(b_m) |x|^m F / Q,  sgn(0) = 1
//
// x is (outer, groups, inner): inner = C / groups with the channels last, C / groups * positions
// with the channels first. Every block serves one group, so its coefficients stay in registers.
// Minimum traffic, which is reached: forward x once, y once; backward x and dy once, dx once.
// Operations per element: forward 2 (N + D) + 2, backward about 5 (N + D).
#include "memory.cuh"
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

template <class A, int N, int D>
struct Coefficients {
    A a[N], size[D], sign[D];

    __device__ Coefficients(const A* numerator, const A* denominator, int group) {
#pragma unroll
        for (int m = 0; m < N; m++) a[m] = numerator[m];
#pragma unroll
        for (int m = 0; m < D; m++) {
            const A b = denominator[group * D + m];
            sign[m] = b >= 0 ? A(1) : A(-1);
            size[m] = b >= 0 ? b : -b;
        }
    }
    __device__ A numerator(A x) const {
        A P = a[N - 1];
#pragma unroll
        for (int m = N - 2; m >= 0; m--) P = P * x + a[m];
        return P;
    }
    __device__ A denominator(A magnitude) const {
        A Q = size[D - 1];
#pragma unroll
        for (int m = D - 2; m >= 0; m--) Q = Q * magnitude + size[m];
        return Q * magnitude + A(1);
    }
    // P'(x) and sum_m m |b_m| |x|^(m-1).
    __device__ void slopes(A x, A magnitude, A& dP, A& bend) const {
        dP = N > 1 ? (N - 1) * a[N - 1] : A(0);
#pragma unroll
        for (int m = N - 2; m >= 1; m--) dP = dP * x + m * a[m];
        bend = D * size[D - 1];
#pragma unroll
        for (int m = D - 2; m >= 0; m--) bend = bend * magnitude + (m + 1) * size[m];
    }
};

template <class T, class Index, int V, int N, int D>
__global__ void __launch_bounds__(KAN_THREADS, 1)
rational_forward(const T* __restrict__ x, const typename Wide<T>::type* __restrict__ numerator,
                 const typename Wide<T>::type* __restrict__ denominator, T* __restrict__ y,
                 Index outer, Index inner_packs, int groups) {
    using A = typename Wide<T>::type;
    const GroupLoop<Index> loop(groups, outer, inner_packs);
    const Coefficients<A, N, D> c(numerator, denominator, loop.group);
    for (Index p = loop.first; p < loop.packs; p += loop.step) {
        const Index place = loop.place(p, groups, inner_packs) * V;
        Pack<T, V> values = load<V>(x + place);
#pragma unroll
        for (int v = 0; v < V; v++) {
            const A z = widen(values.lane[v]), magnitude = z >= 0 ? z : -z;
            values.lane[v] = static_cast<T>(c.numerator(z) / c.denominator(magnitude));
        }
        store(y + place, values);
    }
}

// The gradients of a and b are summed in registers, then over the block. `sums` receives one number
// per block and coefficient, (blocks, N + D), if STORE; otherwise they are added, one atomic each,
// to `sums` (groups, N + D).
template <class T, class Index, int V, int N, int D, bool STORE>
__global__ void __launch_bounds__(KAN_THREADS, 1)
rational_backward(const T* __restrict__ x, const T* __restrict__ grad_y,
                  const typename Wide<T>::type* __restrict__ numerator,
                  const typename Wide<T>::type* __restrict__ denominator, T* __restrict__ grad_x,
                  double* __restrict__ sums, Index outer, Index inner_packs,
                  int groups) {
    using A = typename Wide<T>::type;
    KAN_SHARED(double, shared, (N + D) * WARPS);
    const GroupLoop<Index> loop(groups, outer, inner_packs);
    const Coefficients<A, N, D> c(numerator, denominator, loop.group);
    A sum[N + D] = {};
    for (Index p = loop.first; p < loop.packs; p += loop.step) {
        const Index place = loop.place(p, groups, inner_packs) * V;
        Pack<T, V> values = load<V>(x + place);
        const Pack<T, V> grads = load<V>(grad_y + place);
#pragma unroll
        for (int v = 0; v < V; v++) {
            const A z = widen(values.lane[v]), magnitude = z >= 0 ? z : -z;
            const A inverse = A(1) / c.denominator(magnitude), F = c.numerator(z) * inverse;
            A dP, bend;
            c.slopes(z, magnitude, dP, bend);
            const A weight = widen(grads.lane[v]) * inverse, square = z * z;
            values.lane[v] = static_cast<T>((dP - (z >= 0 ? bend : -bend) * F) * weight);
            // Even and odd powers apart: half as many roundings in the highest one.
            A powers[2] = {weight, weight * z};
#pragma unroll
            for (int m = 0; m < N; m++) {
                sum[m] += powers[m % 2];
                powers[m % 2] *= square;
            }
            powers[0] = weight * F * magnitude, powers[1] = weight * F * square;
#pragma unroll
            for (int m = 0; m < D; m++) {
                sum[N + m] -= powers[m % 2] * c.sign[m];
                powers[m % 2] *= square;
            }
        }
        store(grad_x + place, values);
    }
    const double total = block_sum(sum, shared);
    if (threadIdx.x >= N + D) return;
    if (STORE)
        sums[static_cast<size_t>(blockIdx.x) * (N + D) + threadIdx.x] = total;
    else
        atomicAdd(sums + loop.group * (N + D) + threadIdx.x, total);
}

}  // namespace kan
