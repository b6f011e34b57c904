// Activations and squashing functions: value(x), and both(x, slope), which also gives the
// derivative. conv_kan/ops/maths/activations.py is the reference; names are its names in CamelCase.
#pragma once

#include "platform.cuh"

namespace kan {

// a = x
struct Identity {
    template <typename T>
    static KAN_FN T value(T x) { return x; }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        slope = T(1);
        return x;
    }
};

// a = x s, a' = s (1 + x (1 - s)), s = sigmoid(x)
struct Silu {
    template <typename T>
    static KAN_FN T value(T x) { return x / (T(1) + exp_(-x)); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        const T s = sigmoid_(x);
        slope = s * (T(1) + x * (T(1) - s));
        return x * s;
    }
};

// a = x P(x), a' = P(x) + x p(x), P = (1 + erf(x / sqrt 2)) / 2, p = exp(-x^2 / 2) / sqrt(2 pi)
struct Gelu {
    template <typename T>
    static KAN_FN T value(T x) {
        return T(0.5) * x * (T(1) + erf_(x * T(0.70710678118654752440)));
    }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        const T P = T(0.5) * (T(1) + erf_(x * T(0.70710678118654752440)));
        slope = P + x * exp_(T(-0.5) * x * x) * T(0.39894228040143267794);
        return x * P;
    }
};

// a = max(x, 0), a' = 0 for x <= 0, else 1, as in torch also for NaN
struct Relu {
    template <typename T>
    static KAN_FN T value(T x) { return relu_(x); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        slope = select_(x <= T(0), T(0), T(1));
        return relu_(x);
    }
};

// a = x for x > 0, else 0.01 x
struct LeakyRelu {
    template <typename T>
    static KAN_FN T value(T x) { return select_(x > T(0), x, T(0.01) * x); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        slope = select_(x > T(0), T(1), T(0.01));
        return value(x);
    }
};

// a = x for x > 0, else e^x - 1
struct Elu {
    template <typename T>
    static KAN_FN T value(T x) { return select_(x > T(0), x, expm1_(x)); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        const T a = value(x);
        slope = select_(x > T(0), T(1), a + T(1));
        return a;
    }
};

// a = log(1 + e^x), a' = sigmoid(x); a = x for x > 20
struct Softplus {
    template <typename T>
    static KAN_FN T value(T x) { return select_(x > T(20), x, log1p_(exp_(x))); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        slope = select_(x > T(20), T(1), sigmoid_(x));
        return value(x);
    }
};

// a = tanh(x), a' = 1 - a^2
struct Tanh {
    template <typename T>
    static KAN_FN T value(T x) { return tanh_(x); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        const T a = tanh_(x);
        slope = T(1) - a * a;
        return a;
    }
};

// a = sigmoid(x), a' = a (1 - a)
struct Sigmoid {
    template <typename T>
    static KAN_FN T value(T x) { return sigmoid_(x); }
    template <typename T>
    static KAN_FN T both(T x, T& slope) {
        const T a = sigmoid_(x);
        slope = a * (T(1) - a);
        return a;
    }
};

}  // namespace kan
