// A norm and an activation in as few passes over memory as there can be: a = act(z), z = f y + s,
// with f and s for every channel of every sample. Macros: KAN_VALUE, the dtype of y and a, and
// KAN_ACTIVATION, a struct of cuda/activations.cuh or Prelu. conv_kan/ops/plain/norm.py is the
// reference.
#include "activations.cuh"
#include "pages.h"
#include "parallel.h"
#include "storage.h"

namespace kan {

// a = z for z > 0, else slope z; the slope is learned.
struct Prelu {
    template <typename T>
    static KAN_FN T value(T z, T slope) { return select_(z > T(0), z, slope * z); }
    template <typename T>
    static KAN_FN T both(T z, T slope, T& bend, T& bend_slope) {
        bend = select_(z > T(0), T(1), slope);
        bend_slope = select_(z > T(0), T(0), z);
        return value(z, slope);
    }
};

}  // namespace kan

namespace {

using namespace kan;

using Value = KAN_VALUE;
using Number = decltype(widen(Value{}));
using P = Pack<Number, kPackBytes / sizeof(Number)>;
constexpr int W = P::lanes;

template <typename Act>
struct Activation {
    static KAN_FN P value(P z, P) { return Act::value(z); }
    static KAN_FN P both(P z, P, P& bend, P& bend_slope) {
        bend_slope = P(0);
        return Act::both(z, bend);
    }
};

template <>
struct Activation<Prelu> : Prelu {};

using Act = Activation<KAN_ACTIVATION>;

}  // namespace

// Arguments of all operations; conv_kan/ops/cpp/norm.py fills it. Numbers of a channel of a sample
// are (batch, channels).
struct Call {
    const void* y;       // (batch, channels, positions)
    const void* grad_a;  // as y
    void* out;           // as y
    const Number *factor, *shift, *mean, *slope, *pull, *level;  // a term without its numbers is 0
    double* sums;  // (batch, channels, 3)
    long long batch, channels, positions;
    long long channels_last;  // whether channels are the last in memory
    Team team;
};

namespace {

// W numbers at a time of one channel (lanes are positions), or of W channels (lanes are channels).
struct Walk {
    const Call& call;
    long long plane;       // sample * channels + channel
    long long start, step, count;  // the first number, the distance of packs, how many packs
    int lanes, tail;       // in every pack, and in the last one
    bool last;

    Walk(const Call& call_, long long item) : call(call_), last(call_.channels_last) {
        if (last) {
            const long long blocks = (call.channels + W - 1) / W;
            const long long sample = item / blocks, c = item % blocks * W;
            plane = sample * call.channels + c;
            start = sample * call.positions * call.channels + c;
            step = call.channels, count = call.positions;
            lanes = tail = call.channels - c < W ? int(call.channels - c) : W;
        } else {
            plane = item, start = item * call.positions;
            step = W, count = (call.positions + W - 1) / W;
            lanes = W, tail = int(call.positions - (count - 1) * W);
        }
    }

    static long long items(const Call& call) {
        return call.batch * (call.channels_last ? (call.channels + W - 1) / W : call.channels);
    }

    // The number of each lane's channel.
    P numbers(const Number* of) const {
        if (of == nullptr) return P(0);
        if (!last) return P(of[plane]);
        P x = P(0);
        for (int i = 0; i < lanes; ++i) x.v[i] = of[plane + i];
        return x;
    }

    // f(pack index, lanes) for every pack.
    template <typename Body>
    KAN_FN void each(Body body) const {
        long long at = start;
        if (lanes == W) {
            for (long long i = 0; i + 1 < count; ++i, at += step) body(at, W);
            if (tail == W) return body(at, W);
            return body(at, tail);
        }
        for (long long i = 0; i < count; ++i, at += step) body(at, lanes);
    }

    KAN_FN P read(const void* from, long long at, int n) const {
        const Value* p = static_cast<const Value*>(from) + at;
        return n == W ? load<P>(p) : load<P>(p, n, false);
    }

    KAN_FN void write(P x, long long at, int n) const {
        Value* p = static_cast<Value*>(call.out) + at;
        n == W ? store(x, p) : store(x, p, n);
    }
};

// Sums of packs: float sums of a few packs, then double ones for every lane.
struct Sum {
    double total[W] = {};
    P part = P(0);
    int packs = 0;

    KAN_FN void add(P x) {
        part += x;
        if (++packs == 32) flush();
    }

    KAN_FN void flush() {
        for (int i = 0; i < W; ++i) total[i] += part.v[i];
        part = P(0), packs = 0;
    }

    // For every channel of the walk, into sums[.., which].
    void write(const Walk& walk, int which) {
        flush();
        double* to = walk.call.sums + 3 * walk.plane + which;
        if (walk.last) {
            for (int i = 0; i < walk.lanes; ++i) to[3 * i] = total[i];
            return;
        }
        *to = 0;
        for (int i = 0; i < W; ++i) *to += total[i];
    }
};

KAN_FN P first_lanes(P x, int n) {
    for (int i = n; i < W; ++i) x.v[i] = 0;
    return x;
}

// The mean of every channel of every sample, and the sum of squared distances from it.
void moments(const Call& call, long long item) {
    const Walk walk(call, item);
    Sum sum, squares;
    walk.each([&](long long at, int n) { sum.add(walk.read(call.y, at, n)); });
    sum.write(walk, 0);
    P mean = P(0);
    for (int i = 0; i < (walk.last ? walk.lanes : 1); ++i) {
        double& value = call.sums[3 * (walk.plane + i)];
        value /= double(call.positions);
        mean.v[i] = Number(value);
    }
    if (!walk.last) mean = P(double(mean.v[0]));
    walk.each([&](long long at, int n) {
        const P distance = walk.read(call.y, at, n) - mean;
        squares.add(n == W ? distance * distance : first_lanes(distance * distance, n));
    });
    squares.write(walk, 1);
    // The mean as it was subtracted, so that sums over samples can be moved to a common one.
    for (int i = 0; i < (walk.last ? walk.lanes : 1); ++i) {
        call.sums[3 * (walk.plane + i) + 2] = double(mean.v[i]);
    }
}

// a = act(f y + s)
void forward(const Call& call, long long item) {
    const Walk walk(call, item);
    const P f = walk.numbers(call.factor), s = walk.numbers(call.shift);
    const P slope = walk.numbers(call.slope);
    walk.each([&](long long at, int n) {
        walk.write(Act::value(f * walk.read(call.y, at, n) + s, slope), at, n);
    });
}

// With dz = grad_a act'(z): sum dz, sum dz (y - mean) and the sum that the slope gets.
void sums(const Call& call, long long item) {
    const Walk walk(call, item);
    const P f = walk.numbers(call.factor), s = walk.numbers(call.shift);
    const P mean = walk.numbers(call.mean), slope = walk.numbers(call.slope);
    Sum total, product, slopes;
    walk.each([&](long long at, int n) {
        P bend, bend_slope;
        const P y = walk.read(call.y, at, n), grad = walk.read(call.grad_a, at, n);
        Act::both(f * y + s, slope, bend, bend_slope);
        total.add(grad * bend);
        product.add(grad * bend * (y - mean));
        if (call.slope) slopes.add(grad * bend_slope);
    });
    total.write(walk, 0);
    product.write(walk, 1);
    slopes.write(walk, 2);
}

// dy = f dz - pull (y - mean) - level; without the last two, dy of an infinite y is finite.
void backward(const Call& call, long long item) {
    const Walk walk(call, item);
    const P f = walk.numbers(call.factor), s = walk.numbers(call.shift);
    const P mean = walk.numbers(call.mean), slope = walk.numbers(call.slope);
    const P pull = walk.numbers(call.pull), level = walk.numbers(call.level);
    walk.each([&](long long at, int n) {
        P bend, bend_slope;
        const P y = walk.read(call.y, at, n);
        Act::both(f * y + s, slope, bend, bend_slope);
        const P dz = walk.read(call.grad_a, at, n) * bend;
        walk.write(call.pull ? f * dz - pull * (y - mean) - level : f * dz, at, n);
    });
}

template <void (*operation)(const Call&, long long)>
void work(const Call& call, int thread) {
    const long long count = Walk::items(call), last = count * (thread + 1) / call.team.threads;
    for (long long i = count * thread / call.team.threads; i < last; ++i) operation(call, i);
}

template <void (*operation)(const Call&, long long)>
void write_out(Call* call) {
    const long long count = call->batch * call->channels * call->positions;
    want_large_pages(call->out, count * (long long)sizeof(Value));
    launch<Call, work<operation>>(call);
}

}  // namespace

extern "C" void kan_moments(Call* call) { launch<Call, work<moments>>(call); }
extern "C" void kan_norm_forward(Call* call) { write_out<forward>(call); }
extern "C" void kan_norm_sums(Call* call) { launch<Call, work<sums>>(call); }
extern "C" void kan_norm_backward(Call* call) { write_out<backward>(call); }
