/* Memory that the loops use: it is there before they do, for a loop that waits for a page is late. */

#ifndef MEMORY_H
#define MEMORY_H 1

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
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

#endif /* memory.h */
