// Checks every memory access of a kernel, and counts those of global memory.
//
// `-fsanitize=thread` on the kernel file alone makes the compiler call __tsan_read4(address) and its
// siblings at each access; they are implemented here and not taken from the sanitizer's library.
#include <cstdio>
#include <map>
#include <unordered_map>
#include <memory>
#include "fibers.h"

// An access to a cell: by which thread of which block, after how many barriers.
struct Access {
    uint32_t block = ~0u, block_epoch = 0, warp_epoch = 0;
    int thread = -1;
    bool atomic = false;
    void* code = nullptr;
};
// The last write of 2 bytes of memory and the last reads by two threads.
struct Cell {
    Access write, read, earlier_read;
};
constexpr size_t CELLS_PER_PAGE = 512;
struct Page {
    Cell cells[CELLS_PER_PAGE];
};
// A tensor that the kernel may touch, and what it did touch.
struct Buffer {
    size_t size;
    uint64_t bytes_read = 0, bytes_written = 0, atomics = 0;
};

static std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
static std::map<uintptr_t, Buffer> buffers;
static std::string first_report;

void forget_accesses() {
    pages.clear();
    first_report.clear();
}

bool accesses_were_clean(std::string& message) {
    message = first_report;
    return first_report.empty();
}

// Whether a barrier stands between a and b.
static bool ordered(const Access& a, const Access& b) {
    if (a.thread < 0) return true;
    if (a.block != b.block) return false;
    if (a.thread == b.thread || a.block_epoch < b.block_epoch) return true;
    return a.thread / 32 == b.thread / 32 && a.warp_epoch < b.warp_epoch;
}

static bool compatible(const Access& a, const Access& b) {
    return (a.atomic && b.atomic) || ordered(a, b);
}

static void report(const char* what, const void* address, void* code, const Access* other) {
    if (!first_report.empty()) return;
    char text[300];
    snprintf(text, sizeof text, "%s at %p, code=%p", what, address, code);
    first_report = text + place();
    if (!other) return;
    snprintf(text, sizeof text, " and code=%p [block #%u thread #%d]", other->code, other->block,
             other->thread);
    first_report += text;
}

static Buffer* find_buffer(uintptr_t address, size_t size) {
    auto found = buffers.upper_bound(address);
    if (found == buffers.begin()) return nullptr;
    --found;
    return address + size <= found->first + found->second.size ? &found->second : nullptr;
}

static void check_cell(Cell& cell, const Access& me, bool write, bool shared, void* address) {
    if (shared && cell.write.block != me.block) {
        if (!write) report("uninitialised shared memory read", address, me.code, nullptr);
        cell = Cell();
    }
    if (!compatible(cell.write, me))
        report(write ? "race: write and write" : "race: write and read", address, me.code,
               &cell.write);
    if (write) {
        for (const Access* read : {&cell.read, &cell.earlier_read})
            if (!compatible(*read, me))
                report("race: read and write", address, me.code, read);
        cell.write = me;
        cell.read = cell.earlier_read = Access();
    } else {
        if (cell.read.thread != me.thread || cell.read.block != me.block)
            cell.earlier_read = cell.read;
        cell.read = me;
    }
}

static void count(Buffer& buffer, size_t size, bool write, bool atomic) {
    if (atomic)
        buffer.atomics++;
    else
        (write ? buffer.bytes_written : buffer.bytes_read) += size;
}

static void check(void* address, size_t size, bool write, bool atomic, void* code) {
    if (!checking || !running) return;
    const uintptr_t a = reinterpret_cast<uintptr_t>(address);
    if (a - reinterpret_cast<uintptr_t>(running->stack) < STACK_BYTES) return;
    if (a - reinterpret_cast<uintptr_t>(&shim_thread) < sizeof shim_thread) return;
    bool shared = false, inside = false;
    for (const Shared& array : shared_arrays) {
        const uintptr_t first = reinterpret_cast<uintptr_t>(array.data);
        if (a - first >= array.size) continue;
        shared = true;
        inside = a + size <= first + array.size;
    }
    if (!shared)
        if (Buffer* buffer = find_buffer(a, size)) {
            inside = true;
            count(*buffer, size, write, atomic);
        }
    if (!inside) {
        report(write ? "write out of bounds" : "read out of bounds", address, code, nullptr);
        fail("");  // the report says it all
    }
    const Access me{running_block, running->block_epoch, running->warp_epoch,
                    running->number, atomic, code};
    for (uintptr_t granule = a / 2; granule < (a + size + 1) / 2; granule++) {
        auto& page = pages[granule / CELLS_PER_PAGE];
        if (!page) page = std::make_unique<Page>();
        check_cell(page->cells[granule % CELLS_PER_PAGE], me, write, shared, address);
    }
}

#define CALLER __builtin_return_address(0)
extern "C" {
void shim_register(void* address, size_t size) {
    buffers[reinterpret_cast<uintptr_t>(address)] = {size};
}
void shim_unregister_all() { buffers.clear(); }
void shim_traffic(void* address, uint64_t* read_written_atomics) {
    const Buffer& buffer = buffers[reinterpret_cast<uintptr_t>(address)];
    read_written_atomics[0] = buffer.bytes_read;
    read_written_atomics[1] = buffer.bytes_written;
    read_written_atomics[2] = buffer.atomics;
}
void shim_atomic(void* address, size_t size) { check(address, size, true, true, CALLER); }

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
#define ACCESS_OF(size)                                                                      \
    void __tsan_read##size(void* p) { check(p, size, false, false, CALLER); }                \
    void __tsan_write##size(void* p) { check(p, size, true, false, CALLER); }                \
    void __tsan_unaligned_read##size(void* p) { check(p, size, false, false, CALLER); }      \
    void __tsan_unaligned_write##size(void* p) { check(p, size, true, false, CALLER); }
ACCESS_OF(1)
ACCESS_OF(2)
ACCESS_OF(4)
ACCESS_OF(8)
ACCESS_OF(16)
void __tsan_read_range(void* p, size_t size) { check(p, size, false, false, CALLER); }
void __tsan_write_range(void* p, size_t size) { check(p, size, true, false, CALLER); }
}
