// What the formulas need of the compiler. They are written once, for a number type T: float or
// double on a GPU (NVRTC, nvcc), and on a CPU float, double or a pack of them (conv_kan/ops/cpp),
// which brings its own overloads of everything in this file.
#pragma once

#if defined(__CUDACC__)
#define KAN_FN __device__ __forceinline__
#define KAN_UNROLL _Pragma("unroll")
#else
#include <cmath>
#define KAN_FN inline __attribute__((always_inline))
#define KAN_UNROLL _Pragma("GCC unroll 64")
#endif

namespace kan {

#if defined(__CUDACC__)
#define KAN_SCALAR_MATH(name)                                 \
    KAN_FN float name##_(float x) { return ::name##f(x); }    \
    KAN_FN double name##_(double x) { return ::name(x); }
#else
#define KAN_SCALAR_MATH(name)                                 \
    KAN_FN float name##_(float x) { return std::name(x); }    \
    KAN_FN double name##_(double x) { return std::name(x); }
#endif

KAN_SCALAR_MATH(exp)
KAN_SCALAR_MATH(expm1)
KAN_SCALAR_MATH(log1p)
KAN_SCALAR_MATH(tanh)
KAN_SCALAR_MATH(erf)
KAN_SCALAR_MATH(sin)
KAN_SCALAR_MATH(cos)
KAN_SCALAR_MATH(floor)
#undef KAN_SCALAR_MATH

// condition ? yes : no. A NaN condition is false: write conditions so that NaN takes the branch
// that keeps it.
KAN_FN float select_(bool condition, float yes, float no) { return condition ? yes : no; }
KAN_FN double select_(bool condition, double yes, double no) { return condition ? yes : no; }

// |x|, also of NaN.
template <typename T>
KAN_FN T abs_(T x) {
    return select_(x < T(0), -x, x);
}

// max(x, 0) and min(x, limit), which keep NaN.
template <typename T>
KAN_FN T relu_(T x) {
    return select_(x < T(0), T(0), x);
}

template <typename T>
KAN_FN T cap_(T x, T limit) {
    return select_(x > limit, limit, x);
}

// x, but +-limit beyond it; keeps NaN.
template <typename T>
KAN_FN T bound_(T x, T limit) {
    return select_(x > limit, limit, select_(x < -limit, -limit, x));
}

// 1 / (1 + exp(-x))
template <typename T>
KAN_FN T sigmoid_(T x) {
    return T(1) / (T(1) + exp_(-x));
}

}  // namespace kan
