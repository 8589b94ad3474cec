// An allocator that fills memory with NaN: LD_PRELOAD it, and a number that is read before it is written shows.
// 0xFF in every byte is a NaN of float and of double.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <string.h>

extern void* __libc_malloc(size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static void* filled(void* memory) { return memory ? memset(memory, 0xFF, malloc_usable_size(memory)) : memory; }

void* malloc(size_t size) { return filled(__libc_malloc(size)); }
void* memalign(size_t alignment, size_t size) { return filled(__libc_memalign(alignment, size)); }
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** memory, size_t alignment, size_t size) {
    void* made = memalign(alignment, size);
    if (made) *memory = made;
    return made ? 0 : ENOMEM;
}

void* realloc(void* old, size_t size) {
    size_t before = old ? malloc_usable_size(old) : 0;
    char* made = __libc_realloc(old, size);
    if (made && malloc_usable_size(made) > before) memset(made + before, 0xFF, malloc_usable_size(made) - before);
    return made;
}
