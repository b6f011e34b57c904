// How kernels read and write tensors: packs of neighbouring elements, wide arithmetic.
#pragma once

#ifndef __CUDA_ON_CPU__  // there the header in front of the kernel defines these
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define KAN_SHARED(T, name, count) __shared__ T name[count]
#endif

// Threads of a block, of every kernel. Their launch bounds ask for one block per multiprocessor:
// without that the compiler spills registers to fit more blocks.
#define KAN_THREADS 256

namespace kan {

// The type a kernel computes in: float, or double for double.
template <class T>
struct Wide {
    using type = float;
};
template <>
struct Wide<double> {
    using type = double;
};

// V neighbouring elements, read or written by one instruction.
template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
    T lane[V];
};

template <int V, class T>
__device__ __forceinline__ Pack<T, V> load(const T* address) {
    return *reinterpret_cast<const Pack<T, V>*>(address);
}

template <class T, int V>
__device__ __forceinline__ void store(T* address, const Pack<T, V>& pack) {
    *reinterpret_cast<Pack<T, V>*>(address) = pack;
}

template <class T>
__device__ __forceinline__ typename Wide<T>::type widen(T value) {
    return static_cast<typename Wide<T>::type>(value);
}

}  // namespace kan
