// Fewer page faults for large outputs.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

// Ask for large pages under a tensor that is about to be written for the first time: a fault for
// every 4 KiB of it costs more than the arithmetic. What the system makes of it is its own affair.
inline void want_large_pages(void* start, long long bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t page = 4096, worth = 1 << 22;
    const uintptr_t first = (uintptr_t(start) + page - 1) & ~(page - 1);
    const uintptr_t last = (uintptr_t(start) + bytes) & ~(page - 1);
    if (start != nullptr && uintptr_t(bytes) >= worth) {
        (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
    }
#else
    (void)start, (void)bytes;
#endif
}
