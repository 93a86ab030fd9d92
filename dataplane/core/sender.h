/* Frames on their way out of an interface, many per system call.  For one thread. */

#ifndef SENDER_H
#define SENDER_H 1

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { SENDER_BATCH = 64 };

struct sender {
    int fd;
    uint32_t count;
    struct mmsghdr messages[SENDER_BATCH];
    struct iovec frames[SENDER_BATCH];
    bool is_urgent[SENDER_BATCH];
};

int sender_open(struct sender *, int ifindex, bool bypass_qdisc);
void sender_close(struct sender *);
void sender_add(struct sender *, void *bytes, uint32_t length, bool is_urgent);
int sender_flush(struct sender *, bool is_sent[SENDER_BATCH]);

#endif /* sender.h */
