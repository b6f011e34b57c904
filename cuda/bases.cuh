// All functors: what one channel's value x becomes, and the way back.
//
//     struct NAME<T> {
//         static constexpr int M;  // functions that vary with x; constant ones are left out
//         static constexpr int S;  // learned numbers that one channel reads
//         static void values(T x, const T* shape, T (&phi)[M]);
//             // phi_j(x)
//         static T pull_back(T x, const T* shape, const T (&g)[M], T* grad_shape, T (&phi)[M]);
//             // returns sum_j g_j dphi_j/dx, adds sum_j g_j dphi_j/dshape_s to grad_shape[s],
//             // writes phi_j(x)
//     };
//
// conv_kan/bases/*.py is the reference. A functor's constants are macros; its file is read if its
// macros are there. conv_kan/ops/maths/formula.py says which they are.
#pragma once

#include "activations.cuh"

#if defined(KAN_DEGREE)
#include "polynomials.cuh"
#endif
#if defined(KAN_SPLINE_ORDER)
#include "splines.cuh"
#endif
#if defined(KAN_NUM_KNOTS)
#include "knots.cuh"
#endif
#if defined(KAN_CENTRES) || defined(KAN_NUM_BUMPS)
#include "bumps.cuh"
#endif
#if defined(KAN_NUM_FREQUENCIES) || defined(KAN_NUM_WAVELETS)
#include "waves.cuh"
#endif
#if defined(KAN_NUMERATOR)
#include "rational.cuh"
#endif

namespace kan {

// No functions: a base branch alone.
template <typename T>
struct Nothing {
    static constexpr int M = 0;
    static constexpr int S = 0;
    static KAN_FN void values(T, const T*, T (&)[1]) {}
    static KAN_FN T pull_back(T, const T*, const T (&)[1], T*, T (&)[1]) { return T(0); }
};

}  // namespace kan
