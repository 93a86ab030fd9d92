/* The one assertion that the native tests use; unlike assert() it is never compiled out. */

#ifndef CHECK_H
#define CHECK_H 1

#include <stdio.h>
#include <stdlib.h>

#define CHECK(CONDITION)                                                                    \
    do {                                                                                    \
        if (!(CONDITION)) {                                                                 \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #CONDITION);   \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

#endif /* check.h */
