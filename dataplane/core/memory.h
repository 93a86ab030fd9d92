/* Memory that the loops use: it is there before they do, and stays, for a loop that waits for a page is late. */

#ifndef MEMORY_H
#define MEMORY_H 1

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Has the 'bytes' bytes at 'start', in a mapping, take their place in memory; what they hold stays.  Returns 0, ENOSPC
 * if there is no room (a mere access would be a SIGBUS then), or EINVAL before Linux 5.14. */
static inline int
memory_populate(void *start, size_t bytes)
{
    const uintptr_t page_bytes = sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t) start & ~(page_bytes - 1);

    if (!madvise((void *) first, (uintptr_t) start + bytes - first, MADV_POPULATE_WRITE)) {
        return 0;
    }
    return errno == EINVAL ? EINVAL : ENOSPC;
}

/* Returns 'bytes' bytes of zeroes, all in memory, or NULL.  They are in no child process: after a fork that shared them,
 * the first write to each page would have to copy it. */
static inline void *
memory_take(size_t bytes)
{
    void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED) {
        return NULL;
    }
    madvise(start, bytes, MADV_DONTFORK);
    return memset(start, 0, bytes);
}

/* Frees 'start', NULL or the 'bytes' bytes that memory_take() returned. */
static inline void
memory_give(void *start, size_t bytes)
{
    if (start) {
        munmap(start, bytes);
    }
}

#endif /* memory.h */
