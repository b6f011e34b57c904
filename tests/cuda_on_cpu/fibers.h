// What the scheduler and the access checker know of each other.
#pragma once
#include <string>
#include <vector>
#include "runtime.h"

constexpr size_t STACK_BYTES = 256 << 10;

enum class State : unsigned char { FRESH, READY, AT_BLOCK, AT_WARP, DONE };

// One thread of the running block.
struct Fiber {
    uint3 index{};
    int number = 0;
    State state = State::FRESH;
    char* stack = nullptr;
    void* stack_pointer = nullptr;
    int line = 0;                             // of the __syncthreads() it waits at
    uint32_t block_epoch = 0, warp_epoch = 0;  // barriers passed
    unsigned mask = 0;                        // of the warp collective it waits at
    int operation = 0;
    alignas(16) unsigned char given[16];
    unsigned char taken[32][16];
};

// A shared array of the running block.
struct Shared {
    int site;
    char* data;
    size_t size;
};

extern Fiber* running;
extern std::vector<Shared> shared_arrays;
extern uint32_t running_block;
extern bool checking;

// The access checker.
void forget_accesses();
bool accesses_were_clean(std::string& message);

// Ends the launch, with a message or (empty) with the checker's report; does not return.
[[noreturn]] void fail(const std::string& message);
std::string place();
