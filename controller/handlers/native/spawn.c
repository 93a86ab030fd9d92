#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIRST_TO_GO "1000"

/* A signal must not find a handler of ours in the new process, nor be blocked in the program. */
static void reset_signals(void)
{
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &by_default, NULL); /* some cannot be changed, and need not */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int set_limits(const struct spawn_limit limits[], int limit_count)
{
    for (int index = 0; index < limit_count; index++) {
        struct rlimit limit = {limits[index].most, limits[index].most};
        if (setrlimit(limits[index].resource, &limit) < 0)
            return -1;
    }
    return 0;
}

static int go_first(void)
{
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t size = strlen(FIRST_TO_GO);
    return file >= 0 && write(file, FIRST_TO_GO, size) == size ? 0 : -1;
}

static int set_descriptors(int output)
{
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        return -1;
    return close_range(3, ~0U, 0);
}

int spawn(char *const words[], char *const environment[], const struct spawn_limit limits[], int limit_count, int output)
{
    volatile int failure = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t process = vfork();
    if (process == 0) {
        if (setsid() >= 0 && chdir("/") == 0 && go_first() == 0 && set_descriptors(output) == 0 &&
            set_limits(limits, limit_count) == 0) {
            reset_signals();
            execve(words[0], words, environment);
        }
        failure = errno;
        _exit(127);
    }
    if (process < 0)
        failure = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (process > 0 && failure != 0)
        waitpid(process, NULL, 0);
    return failure != 0 ? -failure : process;
}
