// Rational functions with one denominator per group of channels, and their gradient; the formulas are
// those of cuda/quotient.cuh. Macros: KAN_VALUE, the dtype of x, KAN_NUMERATOR and KAN_DENOMINATOR,
// the numbers of coefficients. conv_kan/ops/plain/rational.py is the reference.
//
// x is (rows, groups, run). Elements are divided into blocks whose number depends on their number
// alone: each leaves its sums of the coefficients' gradients, which the caller adds in order, so that
// they do not depend on the threads.
#include "pages.h"
#include "parallel.h"
#include "quotient.cuh"
#include "storage.h"

namespace {

using namespace kan;

using Value = KAN_VALUE;
using Number = decltype(widen(Value{}));
using P = Pack<Number, kPackBytes / sizeof(Number)>;
constexpr int W = P::lanes;
constexpr int N = KAN_NUMERATOR, D = KAN_DENOMINATOR, S = N + D;
using Function = Quotient<P, N, D>;
// Packs between two transfers of a sum to a double one.
constexpr int kRun = 64;

}  // namespace

// Arguments of both operations; conv_kan/ops/cpp/rational.py fills it.
struct Call {
    const Value *x, *grad_y;       // (rows, groups, run)
    Value* out;                    // y, or the gradient of x
    const Number *numerator, *denominator;  // (N), (groups, D)
    double* sums;                  // (blocks, groups, S), zeros
    long long rows, groups, run, blocks;
    Team team;
};

namespace {

// The coefficients that W lanes read, from lane `first` of a row on: their groups may differ.
struct Lanes {
    P a[N], b[D];

    Lanes(const Call& call, long long first, int count, bool apart) {
        for (int m = 0; m < N; ++m) a[m] = P(double(call.numerator[m]));
        for (int i = 0; i < W; ++i) {
            const long long lane = first + (apart && i < count ? i : 0);
            const Number* from = call.denominator + lane / call.run % call.groups * D;
            for (int m = 0; m < D; ++m) b[m].v[i] = from[m];
        }
    }
};

template <bool backward>
KAN_FN void block(const Call& call, const Function& F, long long at, int count, P* sums) {
    const bool full = count == W;
    const P x = full ? load<P>(call.x + at) : load<P>(call.x + at, count, true);
    P out;
    if constexpr (backward) {
        const P g = full ? load<P>(call.grad_y + at) : load<P>(call.grad_y + at, count, false);
        P slope, inverse;
        const P y = F.both(x, slope, inverse);
        F.add_gradients(x, g * inverse, y, sums, sums + N);
        out = g * slope;
    } else {
        out = F.value(x);
    }
    full ? store(out, call.out + at) : store(out, call.out + at, count);
}

// `count` packs or so that read the same coefficients, `step` elements apart; `lanes` of each count.
template <bool backward>
struct Walk {
    const Call& call;
    double* sums;  // of the block: (groups, S)

    void packs(long long first, long long at, long long step, long long count, int lanes, bool apart) {
        const Lanes c(call, first, lanes, apart);
        const Function F(c.a, c.b);
        for (long long done = 0; done < count;) {
            P part[S];
            for (P& sum : part) sum = P(0);
            const long long stop = count - done < kRun ? count : done + kRun;
            for (; done < stop; ++done) block<backward>(call, F, at + done * step, lanes, part);
            if (!backward) continue;
            for (int i = 0; i < (apart ? lanes : W); ++i) {
                const long long lane = first + (apart ? i : 0);
                double* to = sums + lane / call.run % call.groups * S;
                for (int s = 0; s < S; ++s) to[s] += part[s].v[i];
            }
        }
    }
};

// Block i of elements that stand in long runs: each pack has one group.
template <bool backward>
void along_runs(const Call& call, long long i) {
    const long long total = call.rows * call.groups * call.run;
    const long long last = total * (i + 1) / call.blocks;
    Walk<backward> walk{call, call.sums ? call.sums + i * call.groups * S : nullptr};
    for (long long at = total * i / call.blocks; at < last;) {
        const long long rest = call.run - at % call.run, n = rest < last - at ? rest : last - at;
        walk.packs(at, at, W, n / W, W, false);
        if (n % W) walk.packs(at, at + n / W * W, W, 1, int(n % W), false);
        at += n;
    }
}

// Block i of rows of groups * run elements, of which W neighbours at a time keep their groups.
template <bool backward>
void along_rows(const Call& call, long long i) {
    const long long width = call.groups * call.run, last = call.rows * (i + 1) / call.blocks;
    Walk<backward> walk{call, call.sums ? call.sums + i * call.groups * S : nullptr};
    for (long long row = call.rows * i / call.blocks; row < last; row += kRun) {
        const long long count = last - row < kRun ? last - row : kRun;
        for (long long c = 0; c < width; c += W) {
            const int lanes = width - c < W ? int(width - c) : W;
            walk.packs(c, row * width + c, width, count, lanes, true);
        }
    }
}

template <bool backward>
void work(const Call& call, int thread) {
    // Runs of a few packs would spend their time on reading coefficients.
    const bool runs = call.run >= kRun * W;
    const long long last = call.blocks * (thread + 1) / call.team.threads;
    for (long long i = call.blocks * thread / call.team.threads; i < last; ++i) {
        runs ? along_runs<backward>(call, i) : along_rows<backward>(call, i);
    }
}

template <bool backward>
void start(Call* call) {
    const long long count = call->rows * call->groups * call->run;
    want_large_pages(call->out, count * (long long)sizeof(Value));
    launch<Call, work<backward>>(call);
}

}  // namespace

extern "C" void kan_rational(Call* call) { start<false>(call); }
extern "C" void kan_rational_backward(Call* call) { start<true>(call); }
