// The border between a compiled kernel and the scheduler that executes it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector_types.h>

// Where the running fiber stands.
struct ShimThread {
    uint3 index, block;
    dim3 block_size, grid_size;
    int number;  // in the block, x fastest
};

struct ShimLaunch {
    unsigned grid[3], block[3];
    int32_t schedule;  // 0 in order, 1 reversed, 2 random; + 4: a warp runs as far as it can
    int32_t flush;     // denormal numbers are 0, as CuPy compiles
    int32_t check;     // the kernel was compiled with access hooks
    int32_t unused;
    uint64_t seed;                    // of the random schedule
    int64_t first_block, last_block;  // run only these; -1 for all
};

extern "C" {
extern ShimThread shim_thread;
const char* shim_run(void (*entry)(void*), void* argument, const ShimLaunch*);
void shim_block_barrier(int line);
void shim_warp_exchange(unsigned mask, const void* value, size_t size, int operation, int orders);
void shim_warp_get(int source, unsigned mask, void* value, size_t size);
void* shim_shared(int site, size_t size);
void shim_atomic(void* address, size_t size);
}
