/* A guest in plain C: opens a channel, sends on it for a second, prints what was late, and closes it.
 *
 *     cc -std=c11 -Wall -Wextra -o example example.c
 *     ./example eth0 10.0.0.2 5000 */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "rtvnic_guest.h"

enum { LEASE_S = 30, PACKETS = 100, PERIOD_MS = 10, TRIES = 6, FIRST_PAUSE_MS = 50, LOOKS = 100, LOOK_MS = 50 };

union datagram {
    struct rtvnic_header header;
    struct { struct rtvnic_header header; struct rtvnic_answer body; } answer;
    struct { struct rtvnic_header header; struct rtvnic_missed body; } missed;
    char bytes[RTVNIC_DATAGRAM_MAX];
};

/* A UDP socket whose datagrams leave by `interface` for the service, with or without a route that leads there. */
static int service_socket(const char *interface)
{
    const int on = 1, sock = socket(AF_INET, SOCK_DGRAM, 0);
    const uint32_t index = htonl(if_nametoindex(interface));
    if (index == 0 || setsockopt(sock, IPPROTO_IP, IP_UNICAST_IF, &index, sizeof index) ||
        setsockopt(sock, SOL_SOCKET, SO_DONTROUTE, &on, sizeof on))
        err(2, "cannot reach the service by %s", interface);
    return sock;
}

/* 64 bits that nobody guesses who does not see the request. */
static uint64_t new_nonce(void)
{
    uint64_t nonce;
    if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce)
        err(2, "no random numbers");
    return nonce;
}

/* The size of the next datagram with `nonce`, in `got`; 0 if none comes in time. */
static size_t receive(int sock, int wait_ms, uint64_t nonce, union datagram *got)
{
    while (poll(&(struct pollfd){.fd = sock, .events = POLLIN}, 1, wait_ms) == 1) {
        const ssize_t size = recv(sock, got, sizeof *got, 0);
        if (size >= (ssize_t)sizeof got->header && got->header.nonce == nonce)
            return (size_t)size;
    }
    return 0;
}

/* Send a request until it is answered; ends the program unless the answer is that it is done. */
static struct rtvnic_answer ask(int sock, uint8_t kind, uint64_t nonce, const void *body, size_t size)
{
    union datagram question = {.header = {RTVNIC_MAGIC, RTVNIC_VERSION, kind, 0, nonce}}, got;
    const struct sockaddr_in service = {
        .sin_family = AF_INET, .sin_port = htons(RTVNIC_SERVICE_PORT), .sin_addr.s_addr = inet_addr(RTVNIC_SERVICE_IPV4)};
    memcpy(question.bytes + sizeof question.header, body, size);
    for (int tries = 0; tries < TRIES; tries++) {
        (void)!sendto(sock, &question, sizeof question.header + size, 0, (const struct sockaddr *)&service, sizeof service);
        const size_t length = receive(sock, FIRST_PAUSE_MS << tries, nonce, &got);
        if (length < sizeof got.answer || got.header.kind != RTVNIC_KIND_ANSWER)
            continue;
        if (be16toh(got.answer.body.status) == RTVNIC_STATUS_DONE)
            return got.answer.body;
        if (be16toh(got.answer.body.status) != RTVNIC_STATUS_BUSY)
            errx(1, "%.*s", (int)(length - sizeof got.answer), got.bytes + sizeof got.answer);
        poll(NULL, 0, FIRST_PAUSE_MS << tries);
    }
    errx(2, "no answer, or busy: does this VM's hypervisor run rtvnic, with a quota for the VM?");
}

int main(int count, char **words)
{
    if (count != 4)
        errx(2, "usage: %s INTERFACE ADDRESS PORT", words[0]);
    const int service = service_socket(words[1]), data = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in own, peer = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[3])), .sin_addr.s_addr = inet_addr(words[2])};
    if (connect(data, (const struct sockaddr *)&peer, sizeof peer) ||
        getsockname(data, (struct sockaddr *)&own, &(socklen_t){sizeof own}))
        err(2, "no way to %s", words[2]);

    struct rtvnic_open open = {
        .destination = {[10] = 0xff, 0xff}, .source = {[10] = 0xff, 0xff}, .protocol = IPPROTO_UDP,
        .src_port = own.sin_port, .dst_port = peer.sin_port, .lease_s = htobe32(LEASE_S),
        .deadline_ns = htobe64(5000000), .rate_bps = htobe64(2000000)};
    memcpy(open.destination + 12, &peer.sin_addr, 4);
    memcpy(open.source + 12, &own.sin_addr, 4);
    struct rtvnic_answer answer = ask(service, RTVNIC_KIND_OPEN, new_nonce(), &open, sizeof open);
    const struct rtvnic_renew renew = {answer.channel_id, htobe32(LEASE_S)}; /* once in ten seconds, in earnest */
    for (int looks = 0; looks < LOOKS && answer.state != RTVNIC_STATE_INSTALLED; looks++)
        if (poll(NULL, 0, LOOK_MS) == 0)
            answer = ask(service, RTVNIC_KIND_RENEW, new_nonce(), &renew, sizeof renew);
    printf("channel %u: state %d, packets take %.3f ms at most\n", be32toh(answer.channel_id), answer.state,
           (double)be64toh(answer.bound_ns) / 1e6);

    const uint64_t subscription = new_nonce();
    const struct rtvnic_subscribe subscribe = {answer.channel_id, htobe32(LEASE_S)};
    ask(service, RTVNIC_KIND_SUBSCRIBE, subscription, &subscribe, sizeof subscribe);
    for (int packet = 0; packet < PACKETS; packet++) {
        union datagram got;
        (void)!send(data, "camera", 6, 0);
        if (receive(service, PERIOD_MS, subscription, &got) && got.header.kind == RTVNIC_KIND_MISSED)
            printf("channel %u: %u packets late, by %.3f ms at most\n", be32toh(got.missed.body.channel_id),
                   be32toh(got.missed.body.misses), (double)be64toh(got.missed.body.worst_ns) / 1e6);
    }
    const struct rtvnic_close close = {answer.channel_id};
    ask(service, RTVNIC_KIND_CLOSE, new_nonce(), &close, sizeof close);
    return 0;
}
