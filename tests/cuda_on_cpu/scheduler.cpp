// Executes a CUDA kernel on the CPU: the threads of a block are fibers, blocks run one by one.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#else
#include <ucontext.h>
#endif
#include "fibers.h"

extern "C" {
ShimThread shim_thread;
}
Fiber* running;
std::vector<Shared> shared_arrays;
uint32_t running_block;
bool checking;

static std::vector<Fiber> fibers;
static std::vector<char*> free_stacks;
static void (*kernel)(void*);
static void* kernel_argument;
static std::string failure;
static bool aborting;
static int alive, arrived, order_mode;
static bool greedy;
static size_t shared_bytes;
static uint64_t random_state;

static uint64_t draw() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

template <class T>
static void shuffle(std::vector<T>& values) {
    for (size_t i = values.size(); i > 1; i--) std::swap(values[i - 1], values[draw() % i]);
}

// ------------------------------------------------------------------------------ context switches
#if defined(__x86_64__)
extern "C" void shim_switch(void** save, void* load);
asm(".text\n.local shim_switch\n.type shim_switch,@function\nshim_switch:\n"
    " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
    " movq %rsp,(%rdi)\n movq %rsi,%rsp\n"
    " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n"
    ".size shim_switch,.-shim_switch\n");
static void* main_stack_pointer;

static void prepare(Fiber& fiber, void (*start)()) {
    void** top = reinterpret_cast<void**>(fiber.stack + STACK_BYTES);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(start);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber.stack_pointer = top;
}
static void enter(Fiber& fiber) { shim_switch(&main_stack_pointer, fiber.stack_pointer); }
static void leave() { shim_switch(&running->stack_pointer, main_stack_pointer); }
#else
static ucontext_t main_context;

static void prepare(Fiber& fiber, void (*start)()) {
    auto* context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = fiber.stack;
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = nullptr;
    makecontext(context, start, 0);
    fiber.stack_pointer = context;
}
static void enter(Fiber& fiber) {
    swapcontext(&main_context, static_cast<ucontext_t*>(fiber.stack_pointer));
    if (fiber.state == State::DONE) delete static_cast<ucontext_t*>(fiber.stack_pointer);
}
static void leave() {
    swapcontext(static_cast<ucontext_t*>(running->stack_pointer), &main_context);
}
#endif

std::string place() {
    char text[120];
    const uint3 &b = shim_thread.block, &t = shim_thread.index;
    snprintf(text, sizeof text, " [block %u,%u,%u thread %u,%u,%u]", b.x, b.y, b.z, t.x, t.y, t.z);
    return text;
}

void fail(const std::string& message) {
    if (failure.empty() && !message.empty()) failure = message + place();
    aborting = true;
    running->state = State::DONE;
    leave();
    abort();
}

static void start_fiber() {
    kernel(kernel_argument);
    running->state = State::DONE;
    --alive;
    if (arrived)
        for (const Fiber& fiber : fibers)
            if (fiber.state == State::AT_BLOCK)
                fail("a thread exited while others wait at __syncthreads() in line " +
                     std::to_string(fiber.line));
    leave();
    abort();
}

static char* new_stack() {
    if (free_stacks.empty()) {
        void* memory = mmap(nullptr, STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) abort();
        return static_cast<char*>(memory);
    }
    char* stack = free_stacks.back();
    free_stacks.pop_back();
    return stack;
}

static void resume(Fiber& fiber) {
    if (fiber.state == State::FRESH) {
        fiber.stack = new_stack();
        prepare(fiber, start_fiber);
    }
    fiber.state = State::READY;
    running = &fiber;
    shim_thread.index = fiber.index;
    shim_thread.number = fiber.number;
    enter(fiber);
    if (fiber.state == State::DONE) {
        free_stacks.push_back(fiber.stack);
        fiber.stack = nullptr;
    }
}

// -------------------------------------------------------------------------------- synchronisation
extern "C" void shim_block_barrier(int line) {
    if (alive != static_cast<int>(fibers.size()))
        fail("__syncthreads() in line " + std::to_string(line) + " after threads exited");
    running->line = line;
    running->state = State::AT_BLOCK;
    for (const Fiber& fiber : fibers)
        if (fiber.state == State::AT_BLOCK && fiber.line != line)
            fail("divergent __syncthreads() in lines " + std::to_string(fiber.line) + " and " +
                 std::to_string(line));
    if (++arrived == alive) {
        arrived = 0;
        for (Fiber& fiber : fibers) {
            fiber.state = State::READY;
            fiber.block_epoch++;
        }
    }
    leave();
}

extern "C" void shim_warp_exchange(
    unsigned mask, const void* value, size_t size, int operation, int orders) {
    Fiber* me = running;
    const int base = me->number & ~31, lane = me->number & 31;
    if (!(mask >> lane & 1)) fail("warp collective: the calling lane is not in the mask");
    memset(me->given, 0, 16);
    memcpy(me->given, value, size);
    me->mask = mask;
    me->operation = operation;
    me->state = State::AT_WARP;
    std::vector<int> lanes;
    bool complete = true;
    for (int l = 0; l < 32; l++) {
        if (!(mask >> l & 1)) continue;
        if (base + l >= static_cast<int>(fibers.size()))
            fail("warp collective: the mask names a lane beyond the block");
        Fiber& other = fibers[base + l];
        if (other.state == State::DONE)
            fail("warp collective: lane " + std::to_string(l) + " of the mask has exited");
        complete = complete && other.state == State::AT_WARP;
        if (other.state == State::AT_WARP && (other.mask != mask || other.operation != operation))
            fail("warp collective: lanes disagree on the mask or the operation");
        lanes.push_back(l);
    }
    if (complete)
        for (int l : lanes) {
            Fiber& other = fibers[base + l];
            other.state = State::READY;
            other.warp_epoch += orders;
            for (int s : lanes) memcpy(other.taken[s], fibers[base + s].given, 16);
        }
    leave();
}

extern "C" void shim_warp_get(int source, unsigned mask, void* value, size_t size) {
    if (mask >> source & 1)
        memcpy(value, running->taken[source], size);
    else
        memset(value, 0xFF, size);  // undefined on a GPU, NaN here
}

extern "C" void* shim_shared(int site, size_t size) {
    for (const Shared& array : shared_arrays)
        if (array.site == site) return array.data;
    if ((shared_bytes += size) > 48 * 1024) fail("more than 48 KiB of shared memory");
    void* data;
    if (posix_memalign(&data, 16, size)) abort();
    memset(data, 0xFF, size);  // NaN
    shared_arrays.push_back({site, static_cast<char*>(data), size});
    return data;
}

// --------------------------------------------------------------------------------- blocks and grid
static bool step(Fiber& fiber) {
    if (fiber.state != State::FRESH && fiber.state != State::READY) return false;
    resume(fiber);
    return true;
}

// One turn for every thread, or, if greedy, turns for the first warp that can go on.
static bool turn(std::vector<int>& order) {
    const int threads = static_cast<int>(fibers.size()), width = greedy ? 32 : threads;
    if (order_mode == 2 && !greedy) shuffle(order);
    for (int first = 0; first < threads; first += width) {
        bool progress = false;
        for (int i = first; i < std::min(first + width, threads) && !aborting; i++)
            progress |= step(fibers[order[i]]);
        if (progress || aborting) return true;
    }
    return false;
}

// The order of threads: whole warps stay together.
static std::vector<int> thread_order(int threads) {
    std::vector<int> order, warps;
    for (int w = 0; w < (threads + 31) / 32; w++) warps.push_back(w);
    if (order_mode == 2) shuffle(warps);
    for (int w : warps)
        for (int l = w * 32; l < std::min(w * 32 + 32, threads); l++) order.push_back(l);
    if (order_mode == 1) std::reverse(order.begin(), order.end());
    return order;
}

static void free_block() {
    for (Fiber& fiber : fibers)
        if (fiber.stack) free_stacks.push_back(fiber.stack);
    for (Shared& array : shared_arrays) free(array.data);
    shared_arrays.clear();
    running = nullptr;
}

static void run_block() {
    const dim3 size = shim_thread.block_size;
    const int threads = size.x * size.y * size.z;
    fibers.assign(threads, Fiber());
    alive = threads;
    arrived = 0;
    shared_bytes = 0;
    for (unsigned i = 0; i < fibers.size(); i++) {
        fibers[i].number = i;
        fibers[i].index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
    }
    std::vector<int> order = thread_order(threads);
    while (alive && !aborting) {
        if (turn(order)) continue;
        failure = "deadlock: every thread waits" + place();
        aborting = true;
    }
    free_block();
}

static const char* refuse(const ShimLaunch& launch) {
    const unsigned *g = launch.grid, *b = launch.block;
    const uint64_t threads = uint64_t(b[0]) * b[1] * b[2];
    if (threads < 1 || threads > 1024 || b[2] > 64) return "invalid block size";
    if (!g[0] || !g[1] || !g[2] || g[0] > 2147483647u || g[1] > 65535 || g[2] > 65535)
        return "invalid grid size";
    return nullptr;
}

static void run_grid(const ShimLaunch& launch) {
    const dim3 grid = shim_thread.grid_size;
    const int64_t all = int64_t(grid.x) * grid.y * grid.z;
    const int64_t last = launch.last_block < 0 ? all : std::min(launch.last_block, all);
    std::vector<int64_t> blocks;
    for (int64_t k = launch.first_block; k < last; k++) blocks.push_back(k);
    if (order_mode == 1) std::reverse(blocks.begin(), blocks.end());
    if (order_mode == 2) shuffle(blocks);
    for (int64_t k : blocks) {
        if (aborting) return;
        running_block = static_cast<uint32_t>(k);
        shim_thread.block = {unsigned(k % grid.x), unsigned(k / grid.x % grid.y),
                             unsigned(k / (int64_t(grid.x) * grid.y))};
        run_block();
    }
}

extern "C" const char* shim_run(void (*entry)(void*), void* argument, const ShimLaunch* launch) {
    if (const char* reason = refuse(*launch)) return reason;
    static std::string result;
    failure.clear();
    forget_accesses();
    aborting = false;
    kernel = entry;
    kernel_argument = argument;
    const unsigned *g = launch->grid, *b = launch->block;
    shim_thread.grid_size = dim3(g[0], g[1], g[2]);
    shim_thread.block_size = dim3(b[0], b[1], b[2]);
    order_mode = launch->schedule & 3;
    greedy = launch->schedule & 4;
    checking = launch->check;
    random_state = launch->seed * 2 + 1;
#if defined(__x86_64__)
    const unsigned control = _mm_getcsr();
    if (launch->flush) _mm_setcsr(control | 0x8040);
#endif
    run_grid(*launch);
#if defined(__x86_64__)
    _mm_setcsr(control);
#endif
    result = failure;
    if (result.empty() && accesses_were_clean(result)) return nullptr;
    return result.c_str();
}
