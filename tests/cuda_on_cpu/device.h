// What a kernel file sees instead of the CUDA device library when g++ compiles it for the CPU.
//
// The kernel file itself is not changed: `__global__` functions become plain functions, `threadIdx`
// and its siblings read the state of the running fiber, barriers, shuffles and atomics call the
// scheduler (scheduler.cpp). float16 and bfloat16 are NVIDIA's own headers on their host path.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>
#include "runtime.h"

#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#undef __noinline__
#define __constant__ static
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
// Functions of this header are no part of the kernel: their accesses are not checked.
#define SHIM_UNCHECKED __attribute__((no_sanitize("thread")))

#define threadIdx (::shim_thread.index)
#define blockIdx (::shim_thread.block)
#define blockDim (::shim_thread.block_size)
#define gridDim (::shim_thread.grid_size)
#define warpSize 32

// A shared array: on the GPU `__shared__ T name[count]`, here memory of the running block.
#define KAN_SHARED(T, name, count) \
    T* const name = static_cast<T*>(::shim_shared(__LINE__, sizeof(T) * (count)))
#define __syncthreads() ::shim_block_barrier(__LINE__)

namespace shim {

// The arguments of a launch, as an array of pointers to them.
template <class... Arguments>
struct Job {
    void (*kernel)(Arguments...);
    void** arguments;

    template <size_t... I>
    SHIM_UNCHECKED void call(std::index_sequence<I...>) const {
        kernel(*static_cast<std::remove_cv_t<Arguments>*>(arguments[I])...);
    }
    SHIM_UNCHECKED static void run(void* self) {
        static_cast<Job*>(self)->call(std::index_sequence_for<Arguments...>{});
    }
};

// One letter per argument: the launch fails if the host passes another type, as it would silently
// go wrong on a GPU.
template <class T>
constexpr char letter() {
    if (std::is_pointer_v<T>) return 'p';
    if (std::is_floating_point_v<T>) return sizeof(T) == 8 ? 'd' : 'f';
    return sizeof(T) == 8 ? 'l' : sizeof(T) == 4 ? 'i' : 'b';
}

template <class... Arguments>
SHIM_UNCHECKED const char* launch(
    void (*kernel)(Arguments...), const ShimLaunch* config, void** arguments, const char* given) {
    const char taken[] = {letter<Arguments>()..., 0};
    if (strcmp(taken, given) != 0) {
        static char message[256];
        snprintf(message, sizeof message,
                 "the kernel takes arguments of the types '%s' but was given '%s'", taken, given);
        return message;
    }
    Job<Arguments...> job{kernel, arguments};
    return shim_run(&Job<Arguments...>::run, &job, config);
}

enum Collective { DOWN = 1, XOR = 2, FROM = 3, BARRIER = 9 };

template <class T>
SHIM_UNCHECKED T shuffle(unsigned mask, T value, int source, bool inside, Collective operation) {
    shim_warp_exchange(mask, &value, sizeof(T), operation, 0);
    if (inside) shim_warp_get(source, mask, &value, sizeof(T));
    return value;
}

template <class T>
SHIM_UNCHECKED T atomic_add(T* address, T value) {
    shim_atomic(address, sizeof(T));
    T old = *address;
    *address = old + value;
    return old;
}

}  // namespace shim

SHIM_UNCHECKED inline void __syncwarp(unsigned mask = 0xffffffffu) {
    int nothing = 0;
    shim_warp_exchange(mask, &nothing, sizeof nothing, shim::BARRIER, 1);
}
template <class T>
SHIM_UNCHECKED T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
    int lane = shim_thread.number & 31;
    return shim::shuffle(mask, value, lane + int(delta), lane + int(delta) < 32, shim::DOWN);
}
template <class T>
SHIM_UNCHECKED T __shfl_xor_sync(unsigned mask, T value, int bits) {
    int lane = shim_thread.number & 31;
    return shim::shuffle(mask, value, (lane ^ bits) & 31, true, shim::XOR);
}
template <class T>
SHIM_UNCHECKED T __shfl_sync(unsigned mask, T value, int source) {
    return shim::shuffle(mask, value, source & 31, true, shim::FROM);
}
SHIM_UNCHECKED inline float atomicAdd(float* p, float v) { return shim::atomic_add(p, v); }
SHIM_UNCHECKED inline double atomicAdd(double* p, double v) { return shim::atomic_add(p, v); }
template <class T>
inline T __ldg(const T* address) { return *address; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
using std::max;
using std::min;
