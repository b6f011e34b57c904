// The weights of a layer into those of its one convolution, and the gradient back. KAN_VALUE is the
// dtype of the layer's weights, KAN_STORED that of the convolution; conv_kan/ops/plain/weights.py is
// the reference.
//
//     weight[o, c, m, k] = W_base[o, c, k] for m = 0 if there is one, then s e W_basis[o, c, j, k]
//     v[o, k]            = s sum_{c, j < n} phi_j e W_basis[o, c, j, k], of the n constant functions
//     level[o, box]      = sum_k v[o, k] inside[box, k]
//
// with e = e_oc, a number for every edge, or 1. With G the gradient of s e W_basis:
//
//     dW_basis[o, c, j, k] = s e_oc G[o, c, j, k],  de_oc = s sum_{j, k} G W_basis[o, c, j, k]
//
// Positions of the output whose windows have the same taps inside the image are a box.
#include "parallel.h"
#include "storage.h"

using namespace kan;

using Value = KAN_VALUE;
using Stored = KAN_STORED;
using Number = decltype(widen(Value{}));

// Arguments of both operations; conv_kan/ops/cpp/weights.py fills it.
struct Call {
    void *basis, *base;       // (outputs, channels, functions, taps), (outputs, channels, taps) or null
    const void *edge, *source;  // e (outputs, channels) or null; W_basis, where basis is its gradient
    void* grad_edge;          // as edge
    void* weight;             // (outputs, channels, maps, taps), with the strides below
    Number *level, *table;    // (outputs), of the last box; (outputs, positions): how others differ
    const Number* grad_map;   // (outputs, positions): the gradient of every position, over samples
    const double* constants;  // (num_constants)
    const double* inside;     // (boxes, taps): 1 or 0
    const int* box;           // (positions)
    double scale;
    long long outputs, channels, functions, num_constants, taps, boxes, positions;
    long long output_stride, map_stride, tap_stride;
    Team team;
};

namespace {

// The place of W_basis[o, c, j, 0], and of what it becomes.
struct Rows {
    const Call& call;
    const long long o, varying, maps;

    Rows(const Call& call_, long long o_)
        : call(call_), o(o_), varying(call_.functions - call_.num_constants),
          maps(varying + (call_.base != nullptr)) {}

    Value* basis(long long c, long long j) const {
        return static_cast<Value*>(call.basis) +
               ((o * call.channels + c) * call.functions + j) * call.taps;
    }
    // s e_oc.
    Number factor(long long c) const {
        if (call.edge == nullptr) return Number(call.scale);
        const Value* e = static_cast<const Value*>(call.edge) + o * call.channels;
        return Number(call.scale) * Number(widen(e[c]));
    }
    Value* base() const {
        return call.base ? static_cast<Value*>(call.base) + o * call.channels * call.taps : nullptr;
    }
    Stored* weight(long long c, long long m) const {
        return static_cast<Stored*>(call.weight) + o * call.output_stride +
               (c * maps + m) * call.map_stride;
    }
};

// The level of every box from v; that of the last box, and how much the others differ from it.
void write_levels(const Call& call, long long o, const double* v, double* level) {
    for (long long b = 0; b < call.boxes; ++b) {
        level[b] = 0;
        for (long long k = 0; k < call.taps; ++k) level[b] += v[k] * call.inside[b * call.taps + k];
    }
    const double most = level[call.boxes - 1];
    call.level[o] = Number(most);
    if (call.table == nullptr) return;
    for (long long b = 0; b < call.boxes; ++b) level[b] -= most;
    Number* to = call.table + o * call.positions;
    for (long long p = 0; p < call.positions; ++p) to[p] = Number(level[call.box[p]]);
}

// The transpose: the gradient of v from that of every position.
void read_levels(const Call& call, long long o, double* v, double* level) {
    const Number* grad = call.grad_map + o * call.positions;
    for (long long b = 0; b < call.boxes; ++b) level[b] = 0;
    for (long long p = 0; p < call.positions; ++p) level[call.box[p]] += double(grad[p]);
    for (long long k = 0; k < call.taps; ++k) {
        v[k] = 0;
        for (long long b = 0; b < call.boxes; ++b) v[k] += level[b] * call.inside[b * call.taps + k];
    }
}

// Into a weight without gaps. VARYING, if it is not 0, is rows.varying, and there is one tap: what a
// channel becomes is then a few numbers, whose loops the compiler unrolls.
template <int VARYING>
void join_output(const Call& call, long long o, double* v, double* level) {
    const Rows rows(call, o);
    const long long taps = VARYING ? 1 : call.taps, numbers = VARYING ? VARYING : rows.varying * taps;
    for (long long k = 0; k < taps; ++k) v[k] = 0;
    const Value *from = rows.basis(0, 0), *base = rows.base();
    Stored* to = rows.weight(0, 0);
    for (long long c = 0; c < call.channels; ++c) {
        if (call.base) {
            for (long long k = 0; k < taps; ++k) narrow(widen(*base++), to++);
        }
        const Number scale = rows.factor(c);
        for (long long j = 0; j < call.num_constants; ++j) {
            const double factor = call.constants[j] * double(scale);
            for (long long k = 0; k < taps; ++k) v[k] += factor * double(widen(*from++));
        }
        for (long long i = 0; i < numbers; ++i) narrow(widen(from[i]) * scale, to + i);
        from += numbers, to += numbers;
    }
    if (call.level) write_levels(call, o, v, level);
}

// de_oc.
void split_edge(const Rows& rows, long long c, const double* v) {
    const Call& call = rows.call;
    const long long edge = rows.o * call.channels + c;
    const Value* source = static_cast<const Value*>(call.source) + edge * call.functions * call.taps;
    double total = 0;
    for (long long j = 0; j < call.num_constants; ++j) {
        for (long long k = 0; k < call.taps; ++k) {
            total += call.constants[j] * v[k] * double(widen(*source++));
        }
    }
    const Stored* grad = rows.weight(c, call.base != nullptr);
    for (long long j = 0; j < rows.varying; ++j, grad += call.map_stride) {
        for (long long k = 0; k < call.taps; ++k) {
            total += double(widen(grad[k * call.tap_stride])) * double(widen(*source++));
        }
    }
    narrow(Number(total * call.scale), static_cast<Value*>(call.grad_edge) + edge);
}

// The transpose: gradients in the place of weights. With VARYING the maps are neighbours too.
template <int VARYING>
void split_output(const Call& call, long long o, double* v, double* level) {
    const Rows rows(call, o);
    const long long taps = VARYING ? 1 : call.taps, varying = VARYING ? VARYING : rows.varying;
    const long long map_stride = VARYING ? 1 : call.map_stride;
    if (call.grad_map) read_levels(call, o, v, level);
    const Stored* from = rows.weight(0, 0);
    Value *to = rows.basis(0, 0), *base = rows.base();
    for (long long c = 0; c < call.channels; ++c) {
        if (call.base) {
            for (long long k = 0; k < taps; ++k) {
                narrow(Number(widen(from[k * call.tap_stride])), base++);
            }
            from += map_stride;
        }
        const Number scale = rows.factor(c);
        for (long long j = 0; j < call.num_constants; ++j) {
            const double factor = call.constants[j] * double(scale);
            for (long long k = 0; k < taps; ++k) narrow(Number(factor * v[k]), to++);
        }
        for (long long j = 0; j < varying; ++j, to += taps, from += map_stride) {
            for (long long k = 0; k < taps; ++k) {
                narrow(Number(widen(from[k * call.tap_stride])) * scale, to + k);
            }
        }
        if (call.edge) split_edge(rows, c, v);
    }
}

using Operation = void (*)(const Call&, long long, double*, double*);

template <Operation operation>
void work(const Call& call, int thread) {
    double* v = new double[call.taps + call.boxes];
    const long long last = call.outputs * (thread + 1) / call.team.threads;
    for (long long o = call.outputs * thread / call.team.threads; o < last; ++o) {
        operation(call, o, v, v + call.taps);
    }
    delete[] v;
}

template <int VARYING>
void start(Call* call, bool join) {
    join ? launch<Call, work<join_output<VARYING>>>(call)
         : launch<Call, work<split_output<VARYING>>>(call);
}

void start(Call* call, bool join) {
    const long long varying = call->functions - call->num_constants;
    const bool few = call->taps == 1 && (join || call->map_stride == 1);
    switch (few ? varying : 0) {
        case 1: return start<1>(call, join);
        case 2: return start<2>(call, join);
        case 3: return start<3>(call, join);
        case 4: return start<4>(call, join);
        case 5: return start<5>(call, join);
        case 6: return start<6>(call, join);
        case 7: return start<7>(call, join);
        case 8: return start<8>(call, join);
        default: return start<0>(call, join);
    }
}

}  // namespace

extern "C" void kan_join(Call* call) { start(call, true); }
extern "C" void kan_split(Call* call) { start(call, false); }
