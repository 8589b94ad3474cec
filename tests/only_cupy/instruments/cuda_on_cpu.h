// CUDA C++ on one CPU thread, to test kernels where there is no GPU.  x86-64 and g++ (or clang++).
//
// Every CUDA thread of a block is a fiber with its own stack.  The scheduler runs a fiber until it waits (at __syncthreads or in a
// warp shuffle) or returns, then the next; blocks run one after another.  Nothing is preempted, so what a missing barrier does
// depends on the order in which threads run: the caller chooses ascending, descending or shuffled, for threads and for blocks.
//
// What it refuses, with the source line: a barrier that some threads skip or reach at another line; a shuffle whose lanes do not
// all arrive; a deadlock.  Shared memory is allocated for each block at its exact size and filled with 0xff, so that reading what
// nobody wrote gives NaN, and a sanitizer sees an access beyond it.  There are no atomics: the kernels under test have none.
//
// Built with -fsanitize=thread, a switch between fibers is no synchronisation and a barrier is one, so ThreadSanitizer reports
// real CUDA races: between threads of a block, and between blocks.  Two barriers in a row use two objects in turn: with one, a
// thread that leaves a barrier late would seem to wait for what others did on their way to the next, and races would hide.
#pragma once
#include <math.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/mman.h>

#ifndef __x86_64__
#error "the simulator switches stacks with x86-64 instructions"
#endif

#if defined(__SANITIZE_THREAD__)
#define GPU_TSAN 1
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned);
void __tsan_switch_to_fiber(void*, unsigned);
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#define GPU_SCHEDULER __attribute__((no_sanitize("thread"), noinline))
#else
#define GPU_TSAN 0
#define GPU_SCHEDULER __attribute__((noinline))
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GPU_ASAN 1
extern "C" {
void __sanitizer_start_switch_fiber(void**, const void*, size_t);
void __sanitizer_finish_switch_fiber(void*, const void**, size_t*);
}
#else
#define GPU_ASAN 0
#endif

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
};
uint3 threadIdx, blockIdx;  // of the running fiber
dim3 blockDim, gridDim;

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace gpu {

constexpr size_t kStack = 64 << 10, kPage = 4096;
enum Phase { kReady, kAtBarrier, kInShuffle, kReturned };

struct Fiber {
    void* stack_pointer;
    char* stack;
    Phase phase;
    int line;            // where it waits
    unsigned mask;       // lanes named in its shuffle
    int source;          // lane whose value it wants
    uint64_t sent, got;  // shuffled values, as bits
    uint3 index;
    int lane;
    unsigned turn;  // counts its shuffles
    void* tsan;
    void* asan;
};

struct Stack {
    char* memory;
    void* tsan;  // TSan's idea of the thread that runs on it
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<int> order;
    int waiting, returned;  // at the barrier; done
    unsigned turn;          // counts the barriers
    uint64_t* sync;         // fresh addresses that stand for this block's barrier and warps, for TSan: two of each
};

enum Order { kAscending, kDescending, kShuffled };

inline Block block;
inline Fiber* running;
inline void *scheduler_sp, *scheduler_tsan, *scheduler_asan;
inline const void* scheduler_stack;
inline size_t scheduler_stack_size, dynamic_bytes;
inline char* shared_memory[16];
inline std::vector<void*> to_free;
inline std::vector<Stack> free_stacks, left_stacks;
inline void (*kernel)(void**);
inline void** arguments;
inline char message[400];
inline int launch_begins, launch_ends;

extern "C" void gpu_switch(void** save, void* to);
asm(R"(
    .text
    .globl gpu_switch
    .hidden gpu_switch
    .type gpu_switch,@function
gpu_switch:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size gpu_switch, .-gpu_switch
)");

// ---- inside a fiber --------------------------------------------------------------------------------------------------------

GPU_SCHEDULER inline void leave([[maybe_unused]] bool for_good) {
    Fiber* self = running;
#if GPU_TSAN
    __tsan_switch_to_fiber(scheduler_tsan, 1);
#endif
#if GPU_ASAN
    __sanitizer_start_switch_fiber(for_good ? nullptr : &self->asan, scheduler_stack, scheduler_stack_size);
#endif
    gpu_switch(&self->stack_pointer, scheduler_sp);
#if GPU_ASAN
    __sanitizer_finish_switch_fiber(self->asan, nullptr, nullptr);
#endif
}

GPU_SCHEDULER inline void fiber_main() {
#if GPU_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
#endif
#if GPU_TSAN
    __tsan_acquire(&launch_begins);
#endif
    kernel(arguments);
#if GPU_TSAN
    __tsan_release(&launch_ends);
#endif
    running->phase = kReturned;
    ++block.returned;
    leave(true);
    abort();
}

GPU_SCHEDULER inline void barrier(int line) {
    running->phase = kAtBarrier;
    running->line = line;
    ++block.waiting;
#if GPU_TSAN
    uint64_t* sync = block.sync + (block.turn & 1);
    __tsan_release(sync);
    leave(false);
    __tsan_acquire(sync);
#else
    leave(false);
#endif
}

template <class T>
GPU_SCHEDULER inline T shuffle(unsigned mask, T value, int source, int line) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    Fiber* self = running;
    union {
        T value;
        uint64_t bits;
    } u{};
    u.value = value;
    self->sent = u.bits;
    self->source = source;
    self->mask = mask;
    self->line = line;
    self->phase = kInShuffle;
#if GPU_TSAN
    uint64_t* sync = block.sync + 2 + 2 * (self->lane >> 5) + (self->turn++ & 1);
    __tsan_release(sync);
    leave(false);
    __tsan_acquire(sync);
#else
    leave(false);
#endif
    u.bits = self->got;
    return u.value;
}

template <class T>
GPU_SCHEDULER inline T shuffle_down(unsigned mask, T value, int distance, int line) {
    const int lane = running->lane & 31;
    return shuffle(mask, value, lane + distance < 32 ? lane + distance : lane, line);
}

template <class T>
GPU_SCHEDULER inline T shuffle_xor(unsigned mask, T value, int bits, int line) {
    return shuffle(mask, value, (running->lane & 31) ^ bits, line);
}

GPU_SCHEDULER inline char* block_memory(int number, size_t bytes) {
    char*& memory = shared_memory[number];
    if (!memory) {
        memory = static_cast<char*>(malloc(bytes ? bytes : 1));
        for (size_t i = 0; i < bytes; ++i) static_cast<volatile char*>(memory)[i] = char(0xff);
#if GPU_TSAN
        __tsan_release(memory);
#endif
    }
#if GPU_TSAN
    __tsan_acquire(memory);
#endif
    return memory;
}

template <class T>
inline T* shared_array(int number) {
    return reinterpret_cast<T*>(block_memory(number, sizeof(T)));
}

template <class T>
inline T* dynamic_shared() {
    return reinterpret_cast<T*>(block_memory(0, dynamic_bytes));
}

// ---- the scheduler ---------------------------------------------------------------------------------------------------------

inline uint64_t next_random(uint64_t& state) {
    state += 0x9e3779b97f4a7c15u;
    uint64_t x = state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

inline std::vector<int> ordered(int n, Order order, uint64_t seed) {
    std::vector<int> found(n);
    for (int i = 0; i < n; ++i) found[i] = order == kDescending ? n - 1 - i : i;
    if (order == kShuffled)
        for (int i = n - 1; i > 0; --i) std::swap(found[i], found[next_random(seed) % (i + 1)]);
    return found;
}

GPU_SCHEDULER inline void give_stack(Fiber& fiber) {
    if (free_stacks.empty()) {
        void* memory = mmap(nullptr, kStack + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        mprotect(memory, kPage, PROT_NONE);  // a deep recursion faults instead of overwriting another stack
        fiber.stack = static_cast<char*>(memory) + kPage;
#if GPU_TSAN
        fiber.tsan = __tsan_create_fiber(0);
#endif
    } else {
        fiber.stack = free_stacks.back().memory;
        fiber.tsan = free_stacks.back().tsan;
        free_stacks.pop_back();
    }
    void** top = reinterpret_cast<void**>(fiber.stack + kStack - 64);
    *--top = nullptr;  // keeps the stack 16-byte aligned at the entry of fiber_main
    *--top = reinterpret_cast<void*>(&fiber_main);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
}

// For TSan a stack, and the thread that it takes it for, serve one CUDA thread a launch: two of them on one would seem ordered.
GPU_SCHEDULER inline void take_stack(Fiber& fiber) {
    (GPU_TSAN ? left_stacks : free_stacks).push_back({fiber.stack, fiber.tsan});
    fiber.stack = nullptr;
}

GPU_SCHEDULER inline void all_stacks_free() {
    free_stacks.insert(free_stacks.end(), left_stacks.begin(), left_stacks.end());
    left_stacks.clear();
}

GPU_SCHEDULER inline void run(Fiber& fiber) {
    running = &fiber;
    threadIdx = fiber.index;
#if GPU_ASAN
    __sanitizer_start_switch_fiber(&scheduler_asan, fiber.stack, kStack);
#endif
#if GPU_TSAN
    __tsan_switch_to_fiber(fiber.tsan, 1);
#endif
    gpu_switch(&scheduler_sp, fiber.stack_pointer);
#if GPU_ASAN
    __sanitizer_finish_switch_fiber(scheduler_asan, nullptr, nullptr);
#endif
}

template <class... A>
GPU_SCHEDULER inline void refuse(const char* format, A... values) {
    if (message[0]) return;
    const int used = snprintf(message, sizeof message, format, values...);
    if (used > 0 && size_t(used) < sizeof message)
        snprintf(message + used, sizeof message - used, " (block %u,%u,%u)", blockIdx.x, blockIdx.y, blockIdx.z);
}

// Let shuffles go whose lanes have all arrived at the same line.
GPU_SCHEDULER inline bool release_shuffles() {
    bool any = false;
    std::vector<Fiber>& all = block.fibers;
    for (size_t base = 0; base < all.size(); base += 32) {
        const int lanes = int(std::min<size_t>(32, all.size() - base));
        Fiber* warp = &all[base];
        for (int i = 0; i < lanes; ++i) {
            if (warp[i].phase != kInShuffle) continue;
            const unsigned mask = warp[i].mask;
            unsigned arrived = 0;
            for (int k = 0; k < lanes; ++k)
                if (warp[k].phase == kInShuffle && warp[k].line == warp[i].line && warp[k].mask == mask) arrived |= 1u << k;
            if (!(mask >> i & 1)) refuse("line %d: a lane shuffles that its own mask leaves out", warp[i].line);
            if (arrived != mask) continue;
            for (int k = 0; k < lanes; ++k)
                if (arrived >> k & 1) {
                    const int from = warp[k].source;
                    warp[k].got = arrived >> from & 1 ? warp[from].sent : ~uint64_t(0);
                }
            for (int k = 0; k < lanes; ++k)
                if (arrived >> k & 1) warp[k].phase = kReady;
            any = true;
        }
    }
    return any;
}

GPU_SCHEDULER inline bool release_barrier() {
    const int n = int(block.fibers.size());
    if (!block.waiting || block.waiting + block.returned < n) return false;
    int line = 0;
    for (Fiber& fiber : block.fibers)
        if (fiber.phase == kAtBarrier) {
            if (line && fiber.line != line) refuse("__syncthreads reached at line %d by some threads and at line %d by others", line, fiber.line);
            line = fiber.line;
            fiber.phase = kReady;
        }
    if (block.returned) refuse("__syncthreads at line %d after %d of %d threads had returned", line, block.returned, n);
    block.waiting = 0;
    ++block.turn;
    return true;
}

GPU_SCHEDULER inline void report_deadlock() {
    int shuffling = 0, shuffle_line = 0, barrier_line = 0;
    for (Fiber& fiber : block.fibers) {
        if (fiber.phase == kInShuffle) ++shuffling, shuffle_line = fiber.line;
        if (fiber.phase == kAtBarrier) barrier_line = fiber.line;
    }
    refuse("deadlock: %d threads wait in a shuffle (line %d), %d at a barrier (line %d), %d have returned", shuffling, shuffle_line,
           block.waiting, barrier_line, block.returned);
}

GPU_SCHEDULER inline void free_block_memory() {
    for (void* p : to_free) free(p);
    to_free.clear();
}

GPU_SCHEDULER inline void run_block(Order order, uint64_t seed) {
    const int n = int(blockDim.x * blockDim.y * blockDim.z);
    block.fibers.assign(n, Fiber{});
    block.order = ordered(n, order, seed);
    block.waiting = block.returned = 0;
    block.turn = 0;
    block.sync = static_cast<uint64_t*>(malloc((2 + 2 * 32) * sizeof(uint64_t)));
    to_free.push_back(block.sync);
    for (int i = 0; i < n; ++i) {
        block.fibers[i].lane = i;
        block.fibers[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    }
    while (block.returned < n && !message[0]) {
        bool progress = false;
        for (int i : block.order) {
            Fiber& fiber = block.fibers[i];
            if (fiber.phase != kReady) continue;
            if (!fiber.stack) give_stack(fiber);
            run(fiber);
            if (fiber.phase == kReturned) take_stack(fiber);
            progress = true;
        }
        progress |= release_shuffles();
        progress |= release_barrier();
        if (!progress) report_deadlock();
    }
    for (Fiber& fiber : block.fibers)
        if (fiber.stack) take_stack(fiber);
    for (char*& memory : shared_memory) {
        if (memory) to_free.push_back(memory);
        memory = nullptr;
    }
#if !GPU_TSAN
    free_block_memory();  // under TSan only when the launch ends: freeing here would look like a race with the block
#endif
}

GPU_SCHEDULER inline const char* launch(void (*function)(void**), const unsigned* grid, const unsigned* threads, size_t shared,
                                        void** values, int order, uint64_t seed) {
    kernel = function;
    arguments = values;
    message[0] = 0;
    dynamic_bytes = shared;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads[0], threads[1], threads[2]};
#if GPU_TSAN
    scheduler_tsan = __tsan_get_current_fiber();
    __tsan_release(&launch_begins);
#endif
    const int blocks = int(grid[0] * grid[1] * grid[2]);
    for (int b : ordered(blocks, Order(order), seed ^ 0xb10c)) {
        blockIdx = {b % grid[0], b / grid[0] % grid[1], b / (grid[0] * grid[1])};
        run_block(Order(order), seed + b);
        if (message[0]) break;
    }
#if GPU_TSAN
    __tsan_acquire(&launch_ends);
    free_block_memory();
    all_stacks_free();
#endif
    return message[0] ? message : nullptr;
}

// ---- calling a kernel with arguments by address -----------------------------------------------------------------------------

template <class... A, size_t... I>
inline void apply(void (*function)(A...), void** values, std::index_sequence<I...>) {
    function(*static_cast<std::remove_cv_t<A>*>(values[I])...);
}

// What the compiler sees: "f8" a double, "i4" an int, "const f8*", "struct" anything else, so that a launch can be checked
// against the kernel itself.
template <class T>
inline void describe(char*& to) {
    using Value = std::remove_cv_t<T>;
    if constexpr (std::is_pointer_v<Value>) {
        using Target = std::remove_pointer_t<Value>;
        if (std::is_const_v<Target>) to += sprintf(to, "const ");
        describe<std::remove_const_t<Target>>(to);
        *to++ = '*';
    } else if constexpr (std::is_arithmetic_v<Value>) {
        const char kind = std::is_floating_point_v<Value> ? 'f' : std::is_signed_v<Value> ? 'i' : 'u';
        to += sprintf(to, "%c%d", kind, int(sizeof(Value)));
    } else {
        to += sprintf(to, "struct");
    }
    *to = 0;
}

template <auto function>
struct Call;
template <class... A, void (*function)(A...)>
struct Call<function> {
    static void with(void** values) { apply(function, values, std::index_sequence_for<A...>{}); }
    static const char* signature() {
        static char text[1024];
        char* to = text;
        ((describe<A>(to), *to++ = ','), ...);
        *to = 0;
        return text;
    }
};

}  // namespace gpu

#define __syncthreads() gpu::barrier(__LINE__)
#define __shfl_xor_sync(mask, value, bits) gpu::shuffle_xor(mask, value, bits, __LINE__)
#define __shfl_down_sync(mask, value, distance) gpu::shuffle_down(mask, value, distance, __LINE__)
