// Small kernels with bugs to plant: the checker must report each of them.
#ifndef __CUDA_ON_CPU__
#define KAN_SHARED(T, name, count) __shared__ T name[count]
#endif

// y[i] = sum over tiles of the two neighbours of i, through shared memory.
__global__ void sum_neighbours(const float* x, float* y, int tiles) {
    KAN_SHARED(float, tile, 64);
    const int i = threadIdx.x;
    float sum = 0;
    for (int t = 0; t < tiles; t++) {
        tile[i] = x[t * 64 + i];
#ifndef WITHOUT_FIRST_BARRIER
        __syncthreads();
#endif
        sum += tile[(i + 1) & 63] + tile[(i + 63) & 63];
#ifndef WITHOUT_SECOND_BARRIER
        __syncthreads();
#endif
    }
#ifdef BEYOND
    y[i + 1] = sum;
#else
    y[i] = sum;
#endif
}

// total += the sum of x.
__global__ void add_up(const float* x, float* total, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    float value = i < n ? x[i] : 0;
#ifdef WITHOUT_BOUND
    value = x[i];
#endif
#ifdef DIVERGENT
    if (threadIdx.x < 16)
#endif
        for (int delta = 16; delta > 0; delta >>= 1)
            value += __shfl_down_sync(0xffffffffu, value, delta);
    if (threadIdx.x % 32 != 0) return;
#ifdef WITHOUT_ATOMIC
    *total += value;
#else
    atomicAdd(total, value);
#endif
#ifdef LATE_BARRIER
    __syncthreads();
#endif
}
