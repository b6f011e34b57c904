// A wavelet for every edge, psi((x_c - tau_oc) / s_oc), and its gradient. Macros: KAN_WAVELET, a
// struct of cuda/wavelets.cuh, KAN_NUMBER, float or double, and KAN_VALUE, the dtype of values.
// conv_kan/ops/plain/wavelet.py is the reference.
#include "parallel.h"
#include "storage.h"
#include "wavelets.cuh"

namespace {

using namespace kan;

using Number = KAN_NUMBER;
using Value = KAN_VALUE;
using P = Pack<Number, kPackBytes / sizeof(Number)>;
constexpr int W = P::lanes;

}  // namespace

// Arguments of both operations; conv_kan/ops/cpp/wavelet.py fills it.
struct Call {
    const Number* x;              // (channels, positions), rows `step` apart
    const Number *inverse, *shift;  // 1 / s and -tau / s: (outputs, channels)
    Value* values;                // (outputs, channels, positions)
    const Value* grad;            // the gradient of values
    Number* grad_x;               // as x; added to
    Number *grad_scale, *grad_translation;  // (outputs, channels); added to
    long long outputs, channels, positions, step;
    Team team;
};

namespace {

// f(position, lanes) for every pack of a row.
template <typename Body>
KAN_FN void each(long long positions, Body body) {
    long long p = 0;
    for (; p + W <= positions; p += W) body(p, W);
    if (p < positions) body(p, int(positions - p));
}

template <typename Stored>
KAN_FN P read(const Stored* from, int n) {
    return n == W ? load<P>(from) : load<P>(from, n, false);
}

template <typename Stored>
KAN_FN void write(P x, Stored* to, int n) {
    n == W ? store(x, to) : store(x, to, n);
}

// u = x / s - tau / s
KAN_FN P argument(P x, P inverse, P shift) {
    return within_reach<KAN_WAVELET>(x * inverse + shift);
}

// psi(u)
void values(const Call& call, long long c) {
    const Number* x = call.x + c * call.step;
    for (long long o = 0; o < call.outputs; ++o) {
        const long long edge = o * call.channels + c;
        const P inverse(call.inverse[edge]), shift(call.shift[edge]);
        Value* out = call.values + edge * call.positions;
        each(call.positions, [&](long long p, int n) {
            write(KAN_WAVELET::value(argument(read(x + p, n), inverse, shift)), out + p, n);
        });
    }
}

// With D = grad psi'(u) / s: dx = sum_o D, dtau = -sum D, ds = -sum D u.
void pull_back(const Call& call, long long c) {
    const Number* x = call.x + c * call.step;
    Number* grad_x = call.grad_x + c * call.step;
    for (long long o = 0; o < call.outputs; ++o) {
        const long long edge = o * call.channels + c;
        const P inverse(call.inverse[edge]), shift(call.shift[edge]);
        const Value* grad = call.grad + edge * call.positions;
        double total = 0, product = 0;
        P part = P(0), part_u = P(0);
        const auto flush = [&] {
            for (int i = 0; i < W; ++i) total += part.v[i], product += part_u.v[i];
            part = part_u = P(0);
        };
        int packs = 0;
        each(call.positions, [&](long long p, int n) {
            P slope;
            const P u = argument(read(x + p, n), inverse, shift);
            KAN_WAVELET::both(u, slope);
            const P D = read(grad + p, n) * slope * inverse;
            write(read(grad_x + p, n) + D, grad_x + p, n);
            part += D;
            part_u += D * u;
            if (++packs % 64 == 0) flush();
        });
        flush();
        call.grad_translation[edge] -= Number(total);
        call.grad_scale[edge] -= Number(product);
    }
}

template <void (*operation)(const Call&, long long)>
void work(const Call& call, int thread) {
    const long long count = call.channels, last = count * (thread + 1) / call.team.threads;
    for (long long c = count * thread / call.team.threads; c < last; ++c) operation(call, c);
}

}  // namespace

extern "C" void kan_wavelet_values(Call* call) { launch<Call, work<values>>(call); }
extern "C" void kan_wavelet_pull_back(Call* call) { launch<Call, work<pull_back>>(call); }
