// The transpose of every sample's matrix: images with channels first, (channels, positions), from
// and to images with channels last. KAN_STORED is an integer as wide as an element.
#include <cstring>

#include "pack.h"
#include "pages.h"
#include "parallel.h"

using Stored = KAN_STORED;

// Arguments; conv_kan/ops/cpp/layout.py fills it.
struct Call {
    const void* from;  // (batch, rows, columns)
    void* to;          // (batch, columns, rows)
    long long batch, rows, columns;
    Team team;
};

namespace {

constexpr int W = kan::kPackBytes / sizeof(Stored);  // lanes of a register, and the side of a tile
typedef Stored Vector __attribute__((vector_size(kan::kPackBytes)));

// Exchanges the lanes with bit `step` of rows r with those without it of rows r + step.
template <int step>
KAN_FN void exchange(Vector (&tile)[W]) {
    if constexpr (step > 0) {
        Vector low, high;
        for (int l = 0; l < W; ++l) {
            low[l] = l & step ? W + l - step : l;
            high[l] = l & step ? W + l : l + step;
        }
        KAN_UNROLL
        for (int r = 0; r < W; ++r) {
            if (r & step) continue;
            const Vector a = tile[r], b = tile[r + step];
            tile[r] = __builtin_shuffle(a, b, low);
            tile[r + step] = __builtin_shuffle(a, b, high);
        }
        exchange<step / 2>(tile);
    }
}

void whole_tile(const Stored* from, long long columns, Stored* to, long long rows) {
    Vector tile[W];
    KAN_UNROLL
    for (int r = 0; r < W; ++r) std::memcpy(&tile[r], from + r * columns, sizeof(Vector));
    exchange<W / 2>(tile);
    KAN_UNROLL
    for (int r = 0; r < W; ++r) std::memcpy(to + r * rows, &tile[r], sizeof(Vector));
}

void part_of_tile(
    const Stored* from, long long columns, Stored* to, long long rows, int height, int width) {
    for (int c = 0; c < width; ++c) {
        for (int r = 0; r < height; ++r) to[c * rows + r] = from[r * columns + c];
    }
}

// Tiles are W columns of one sample, all rows of them.
void transpose(const Call& call, int thread) {
    const long long strips = (call.columns + W - 1) / W, count = call.batch * strips;
    const long long last = count * (thread + 1) / call.team.threads;
    for (long long i = count * thread / call.team.threads; i < last; ++i) {
        const long long start = i / strips * call.rows * call.columns, c = i % strips * W;
        const Stored* from = static_cast<const Stored*>(call.from) + start + c;
        Stored* to = static_cast<Stored*>(call.to) + start + c * call.rows;
        const int width = call.columns - c < W ? int(call.columns - c) : W;
        for (long long r = 0; r < call.rows; r += W) {
            const int height = call.rows - r < W ? int(call.rows - r) : W;
            if (height == W && width == W) {
                whole_tile(from + r * call.columns, call.columns, to + r, call.rows);
            } else {
                part_of_tile(
                    from + r * call.columns, call.columns, to + r, call.rows, height, width);
            }
        }
    }
}

}  // namespace

extern "C" void kan_transpose(Call* call) {
    const long long count = call->batch * call->rows * call->columns;
    want_large_pages(call->to, count * (long long)sizeof(Stored));
    launch<Call, transpose>(call);
}
