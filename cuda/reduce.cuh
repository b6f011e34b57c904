// Sums over a block: registers, then warps, then one number per block and coefficient. Every thread
// adds its few elements in the dtype of the arithmetic; from there on sums are double, so that the
// number of threads does not cost digits.
#pragma once
#include "memory.cuh"

namespace kan {

constexpr int WARPS = KAN_THREADS / 32;

// Thread j < COUNT returns the sum of value[j] over the block. `shared` holds COUNT * WARPS numbers.
template <int COUNT, class A>
__device__ __forceinline__ double block_sum(const A (&value)[COUNT], double* shared) {
    static_assert(COUNT <= KAN_THREADS, "one thread finishes one sum");
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int j = 0; j < COUNT; j++) {
        double total = value[j];
#pragma unroll
        for (int delta = 16; delta > 0; delta >>= 1)
            total += __shfl_down_sync(0xffffffffu, total, delta);
        if (lane == 0) shared[j * WARPS + warp] = total;
    }
    __syncthreads();
    double total = 0;
    if (threadIdx.x < COUNT)
        for (int w = 0; w < WARPS; w++) total += shared[threadIdx.x * WARPS + w];
    return total;
}

}  // namespace kan
