// Rational functions with one denominator per group of channels, and their gradient; the formulas are
// those of cuda/quotient.cuh. Macros: KAN_VALUE, the dtype of x, KAN_NUMERATOR and KAN_DENOMINATOR,
// the numbers of coefficients. conv_kan/ops/plain/rational.py is the reference.
//
// x is (rows, groups, run) and is read in the order of memory, piece by piece; numbers are widened in
// registers. A first look at a piece finds whether powers of its numbers might overflow; nearly always
// they cannot, and the formulas are those of NearQuotient.
// The gradients of coefficients are sums in two stages: elements are divided into blocks whose number
// depends on their number alone, each leaves its sums, and the caller adds these in order, so that
// they do not depend on the threads.
#include <limits>
#include <numeric>
#include <vector>

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
constexpr int N = KAN_NUMERATOR, D = KAN_DENOMINATOR;
using Near = NearQuotient<P, N, D>;
using Anywhere = Quotient<P, N, D>;
// Packs in a sum before it is transferred to a double one.
constexpr int kRun = 64;
// Numbers x and coefficients c with |x|^kOrder <= 2^60 and |c| < 2^50 leave room for all products.
constexpr int kOrder = N - 1 > D ? N - 1 : D;
constexpr double kLargestPower = 60, kCoefficient = 0x1p50;

}  // namespace

// Arguments of both operations; conv_kan/ops/cpp/rational.py fills it.
struct Call {
    const Value *x, *grad_y;                // (rows, groups, run)
    Value* out;                             // y, or the gradient of x
    const Number *numerator, *denominator;  // a (N), |b| (groups, D)
    double *sums_a, *sums_b;                // of their gradients: (blocks, N), (blocks, groups, D), zeros
    long long rows, groups, run, blocks;
    Team team;
};

namespace {

// Which coefficients an element has: `width` neighbours are divided into `entries` of `span` elements
// (the last may be shorter), after which the same entries come again. All elements of an entry have
// one group, or, if `mixed`, it is one pack whose lanes have a group each.
struct Layout {
    bool mixed;
    long long width, span, entries;

    explicit Layout(const Call& call) {
        const long long row = call.groups * call.run, packs = W / std::gcd(row, (long long)W);
        mixed = call.run % W != 0 && call.run < kRun / 4 * W;
        width = mixed && row * packs <= kRun * W ? row * packs : row;  // rows that make full packs
        span = mixed ? W : call.run;
        entries = (width + span - 1) / span;
    }

    long long group(const Call& call, long long entry, int lane) const {
        return (entry * span + (mixed ? lane : 0)) / call.run % call.groups;
    }
};

// The largest |x| whose powers need no care; 0 if coefficients do.
Number near_limit(const Call& call) {
    bool small = true;
    for (int m = 0; m < N; ++m) small &= std::fabs(call.numerator[m]) < kCoefficient;
    for (long long i = 0; i < call.groups * D; ++i) small &= call.denominator[i] < kCoefficient;
    return small ? Number(std::exp2(kLargestPower / kOrder)) : Number(0);
}

// Whether |x| <= limit for all of them: as integers, sizes have the order of numbers, NaN the last.
bool all_near(const Value* x, long long count, Number limit) {
    using Sizes = typename Bits<Number, W>::Vector;
    const auto size = [](P number) {
        return (Sizes)number.v & std::numeric_limits<typename Bits<Number, W>::Int>::max();
    };
    Sizes most = {};
    for (long long i = 0; i < count; i += W) {
        const int lanes = count - i < W ? int(count - i) : W;
        const Sizes sizes = size(lanes == W ? load<P>(x + i) : load<P>(x + i, lanes, false));
        most = sizes > most ? sizes : most;
    }
    const Sizes bound = size(P(double(limit)));
    bool near = true;
    for (int i = 0; i < W; ++i) near &= most[i] <= bound[i];
    return near;
}

// The blocks of a thread, one after the other.
template <bool backward>
class Worker {
    const Call& call;
    const Layout layout;
    const Number limit;
    const long long total = call.rows * call.groups * call.run;
    P a[N];
    std::vector<P> b;  // (entries, D)
    // Sums of the block: in packs, and of the numerator in double lanes too.
    P grad_a[N];
    std::vector<P> grad_b;
    double wide_a[N][W] = {};
    long long pending_a = 0, pending_b = 0;  // packs that were added since the last transfer

   public:
    explicit Worker(const Call& c)
        : call(c), layout(c), limit(near_limit(c)), b(layout.entries * D),
          grad_b(layout.entries * D, P(0)) {
        for (int m = 0; m < N; ++m) a[m] = P(double(call.numerator[m])), grad_a[m] = P(0);
        for (long long entry = 0; entry < layout.entries; ++entry) {
            for (int i = 0; i < W; ++i) {
                const Number* from = call.denominator + layout.group(call, entry, i) * D;
                for (int m = 0; m < D; ++m) b[entry * D + m].v[i] = from[m];
            }
        }
    }

    void block(long long i) {
        const long long unit = layout.mixed ? layout.width : 1, units = (total + unit - 1) / unit;
        const long long first = units * i / call.blocks * unit;
        const long long end = units * (i + 1) / call.blocks * unit, last = end < total ? end : total;
        layout.mixed ? mixed_entries(i, first, last) : long_entries(i, first, last);
        if (!backward) return;
        transfer_a();
        transfer_b(i);
        for (int m = 0; m < N; ++m) {
            for (double& lane : wide_a[m]) call.sums_a[i * N + m] += lane, lane = 0;
        }
    }

   private:
    // A piece is a row.
    void mixed_entries(long long i, long long first, long long last) {
        for (long long at = first; at < last; at += layout.width) {
            const long long count = last - at < layout.width ? last - at : layout.width;
            if (all_near(call.x + at, count, limit)) {
                piece<Near, true>(at, count, 0);
            } else {
                piece<Anywhere, true>(at, count, 0);
            }
            note(i, layout.entries, 1);
        }
    }

    // A piece is an entry, or kRun packs of it; a block may begin and end within one.
    void long_entries(long long i, long long first, long long last) {
        const long long depth = (layout.span + W - 1) / W;
        long long entry = first % layout.width / layout.span;
        for (long long at = first; at < last;) {
            const long long end = at - at % layout.span + layout.span;
            for (const long long stop = end < last ? end : last; at < stop;) {
                const long long count = stop - at < kRun * W ? stop - at : kRun * W;
                if (all_near(call.x + at, count, limit)) {
                    piece<Near, false>(at, count, entry);
                } else {
                    piece<Anywhere, false>(at, count, entry);
                }
                at += count;
                if (backward && depth > kRun) transfer_b(i, entry);
            }
            entry = entry + 1 < layout.entries ? entry + 1 : 0;
            note(i, depth, entry == 0 ? depth : 0);
        }
    }

    // `count` neighbours: of consecutive entries from the first on if mixed, else of `entry`.
    template <class Function, bool mixed>
    void piece(long long at, long long count, long long entry) {
        P numerator[N], part[N], part_b[D], *to = &grad_b[entry * D];
        for (int m = 0; m < N; ++m) numerator[m] = a[m], part[m] = P(0);
        for (int m = 0; m < D; ++m) part_b[m] = to[m];
        const P* from = &b[entry * D];
        const Function common(numerator, from);
        for (long long done = 0; done < count; done += W, from += D, to += D) {
            const int lanes = count - done < W ? int(count - done) : W;
            if constexpr (mixed) {
                pack(Function(numerator, from), at + done, lanes, part, to);
            } else {
                pack(common, at + done, lanes, part, part_b);
            }
        }
        if (!backward) return;
        for (int m = 0; m < N; ++m) grad_a[m] += part[m];
        if (mixed) return;
        for (int m = 0; m < D; ++m) grad_b[entry * D + m] = part_b[m];
    }

    // The first `lanes` of a pack; the others add 0 to sums.
    template <class Function>
    KAN_FN void pack(const Function& F, long long at, int lanes, P* sums_a, P* sums_b) const {
        const bool full = lanes == W;
        const P x = full ? load<P>(call.x + at) : load<P>(call.x + at, lanes, false);
        P out;
        if constexpr (backward) {
            const P g = full ? load<P>(call.grad_y + at) : load<P>(call.grad_y + at, lanes, false);
            P slope, inverse;
            const P y = F.both(x, slope, inverse);
            F.add_gradients(x, g * inverse, y, sums_a, sums_b);
            out = g * slope;
        } else {
            out = F.value(x);
        }
        full ? store(out, call.out + at) : store(out, call.out + at, lanes);
    }

    // So many packs were added to the sums of a, and at most so many to each sum of b.
    void note(long long i, long long packs_a, long long packs_b) {
        pending_a += packs_a, pending_b += packs_b;
        if (!backward) return;
        if (pending_a >= kRun) transfer_a();
        if (pending_b >= kRun) transfer_b(i);
    }

    void transfer_a() {
        for (int m = 0; m < N; ++m) {
            for (int lane = 0; lane < W; ++lane) wide_a[m][lane] += grad_a[m].v[lane];
            grad_a[m] = P(0);
        }
        pending_a = 0;
    }

    void transfer_b(long long i) {
        for (long long entry = 0; entry < layout.entries; ++entry) transfer_b(i, entry);
        pending_b = 0;
    }

    void transfer_b(long long i, long long entry) {
        P* from = &grad_b[entry * D];
        for (int lane = 0; lane < W; ++lane) {
            double* to = call.sums_b + (i * call.groups + layout.group(call, entry, lane)) * D;
            for (int m = 0; m < D; ++m) to[m] += from[m].v[lane];
        }
        for (int m = 0; m < D; ++m) from[m] = P(0);
    }
};

template <bool backward>
void work(const Call& call, int thread) {
    Worker<backward> worker(call);
    const long long last = call.blocks * (thread + 1) / call.team.threads;
    for (long long i = call.blocks * thread / call.team.threads; i < last; ++i) worker.block(i);
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
