// Mother wavelets psi(u): value(u), and both(u, slope), which also gives psi'(u), for |u| <= reach.
// conv_kan/ops/maths/wavelets.py is the reference; names are its names in CamelCase.
#pragma once

#include "platform.cuh"

namespace kan {

// u, or +-reach beyond it, where psi and psi' are 0 but for rounding: u has a square and a product
// with 0.
template <typename Psi, typename T>
KAN_FN T within_reach(T u) {
    return bound_(u, T(Psi::reach));
}

// psi = a (u^2 - 1) e, psi' = a u (3 - u^2) e, e = exp(-u^2 / 2), a = 2 / (sqrt(3) pi^(1/4))
struct MexicanHat {
    static constexpr double reach = 40.0;
    template <typename T>
    static KAN_FN T value(T u) {
        const T square = u * u;
        return (square - T(1)) * exp_(T(-0.5) * square) * T(0.86732507058407751832);
    }
    template <typename T>
    static KAN_FN T both(T u, T& slope) {
        const T square = u * u, e = exp_(T(-0.5) * square) * T(0.86732507058407751832);
        slope = u * (T(3) - square) * e;
        return (square - T(1)) * e;
    }
};

// psi = cos(5 u) e, psi' = -5 sin(5 u) e - u psi, e = exp(-u^2 / 2)
struct Morlet {
    static constexpr double reach = 40.0;
    template <typename T>
    static KAN_FN T value(T u) { return cos_(T(5) * u) * exp_(T(-0.5) * u * u); }
    template <typename T>
    static KAN_FN T both(T u, T& slope) {
        const T e = exp_(T(-0.5) * u * u), psi = cos_(T(5) * u) * e;
        slope = T(-5) * sin_(T(5) * u) * e - u * psi;
        return psi;
    }
};

// psi = -u e, psi' = (u^2 - 1) e, e = exp(-u^2 / 2)
struct Dog {
    static constexpr double reach = 40.0;
    template <typename T>
    static KAN_FN T value(T u) { return -u * exp_(T(-0.5) * u * u); }
    template <typename T>
    static KAN_FN T both(T u, T& slope) {
        const T square = u * u, e = exp_(T(-0.5) * square);
        slope = (square - T(1)) * e;
        return -u * e;
    }
};

// psi = sin(pi v) cos(b), v = min(|u|, 1), b = pi/2 nu(t), t = max(2 v - 1, 0),
// nu = t^4 (35 - 84 t + 70 t^2 - 20 t^3), nu' = 140 t^3 (1 - t)^3;
// psi' = sign(u) (pi cos(pi v) cos(b) - pi nu' sin(pi v) sin(b)), and 0 for v = 1.
struct Meyer {
    static constexpr double reach = 1.0;
    template <typename T>
    static KAN_FN T value(T u) {
        const T v = cap_(abs_(u), T(1)), t = relu_(T(2) * v - T(1));
        return sin_(T(pi) * v) * cos_(bend(t));
    }
    template <typename T>
    static KAN_FN T both(T u, T& slope) {
        const T v = cap_(abs_(u), T(1)), t = relu_(T(2) * v - T(1)), w = T(1) - t, b = bend(t);
        const T sine = sin_(T(pi) * v), cosine = cos_(b);
        const T slope_nu = T(140) * (t * t * t) * (w * w * w);
        const T magnitude = T(pi) * (cos_(T(pi) * v) * cosine - slope_nu * sine * sin_(b));
        const T zero = select_(u == u, T(0), u);
        slope = select_(u > T(0), magnitude, select_(u < T(0), -magnitude, zero));
        slope = select_(v >= T(1), zero, slope);
        return sine * cosine;
    }

   private:
    static constexpr double pi = 3.14159265358979323846;
    template <typename T>
    static KAN_FN T bend(T t) {
        const T square = t * t;
        const T nu = square * square * (T(35) + t * (T(-84) + t * (T(70) - T(20) * t)));
        return T(0.5 * pi) * nu;
    }
};

// psi = sin(u) / u, psi' = (cos(u) - psi) / u; near 0 the series 1 - u^2 / 6, -u / 3 + u^3 / 30
struct Shannon {
    static constexpr double reach = 1e30;
    template <typename T>
    static KAN_FN T value(T u) {
        return select_(u == T(0), T(1), sin_(u) / select_(u == T(0), T(1), u));
    }
    template <typename T>
    static KAN_FN T both(T u, T& slope) {
        const T psi = value(u), near = u * (T(-1.0 / 3.0) + u * u * T(1.0 / 30.0));
        slope = select_(abs_(u) < T(0.01), near, (cos_(u) - psi) / select_(u == T(0), T(1), u));
        return psi;
    }
};

}  // namespace kan
