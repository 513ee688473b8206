/*
 * A thread that is blocked in a system call when it is checkpointed. Afterwards the call must go on (with the time that
 * remained) or end as it would have. EINTR is taken only where signal(7) says that a stop can cause it even without a
 * handler: epoll_wait, sigtimedwait (and select and poll never). The call is the argument.
 */
#include "selftest.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

static const char *kind;
static volatile int done, cancelled;
static long result;
static int error;
static double started_at;
/* Seconds by CLOCK_MONOTONIC, which stands still while there is no process. */
static double longest = 8;
static int ends[2];
static int futex_word;
static volatile pid_t waiter_tid;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void on_usr1(int signal) { cancelled = signal; }

static int is(const char *name) { return strcmp(kind, name) == 0; }

/* The number SYS_select is of an older call in 32-bit programs, with all arguments in one structure. */
#ifdef SYS__newselect
#define NR_SELECT SYS__newselect
#else
#define NR_SELECT SYS_select
#endif

/* Blocks in the call under test; raw calls, so that the C library hides nothing. */
static long block(void) {
  char byte = 0;
  if (is("nanosleep")) return syscall(SYS_nanosleep, &(struct timespec){1, 0}, NULL);
  if (is("clock_nanosleep")) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += 1;
    long failed = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    return failed;
  }
  if (is("clock_nanosleep-relative")) {
    struct timespec rest;
    return syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &(struct timespec){1, 0}, &rest);
  }
  if (is("poll-timeout")) return syscall(SYS_poll, &(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, 1000);
  if (is("poll")) return syscall(SYS_poll, &(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, -1);
  if (is("ppoll")) return syscall(SYS_ppoll, &(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, NULL, NULL, 8);
  if (is("select")) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    return syscall(NR_SELECT, ends[0] + 1, &set, NULL, NULL, NULL);
  }
  if (is("select-timeout")) return syscall(NR_SELECT, 0, NULL, NULL, NULL, &(struct timeval){1, 0});
  if (is("read-pipe")) return syscall(SYS_read, ends[0], &byte, 1);
  if (is("futex")) return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  if (is("futex-timeout"))
    return syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &(struct timespec){1, 0}, NULL, 0);
  if (is("pause")) return syscall(SYS_pause);
  if (is("sigsuspend")) {
    uint64_t mask = 0;
    return syscall(SYS_rt_sigsuspend, &mask, 8);
  }
  if (is("epoll_wait")) {
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
    long got = syscall(SYS_epoll_wait, epoll, &event, 1, -1);
    int saved = errno;
    close(epoll);
    errno = saved;
    return got;
  }
  if (is("sigtimedwait")) {
    uint64_t set = 1ULL << (SIGUSR2 - 1);
    return syscall(SYS_rt_sigtimedwait, &set, NULL, &(struct timespec){1, 0}, 8);
  }
  if (is("waitpid")) {
    pid_t child = fork();
    if (child == 0) {
      close(ends[1]); /* so that it sees the end of its parent */
      while (!access("/proc/self", F_OK) && read(ends[0], &byte, 1) < 0) {}
      _exit(7);
    }
    int status = 0;
    long got = syscall(SYS_wait4, child, &status, 0, NULL);
    return got == child && WIFEXITED(status) && WEXITSTATUS(status) == 7 ? 1 : -1;
  }
  errno = ENOSYS;
  return -2;
}

static void *run(void *unused) {
  (void)unused;
  waiter_tid = (pid_t)syscall(SYS_gettid);
  started_at = now();
  result = block();
  error = result < 0 ? errno : 0;
  done = 1;
  return NULL;
}

/* Ends the calls that wait for somebody. */
static void wake(pthread_t thread) {
  if (is("poll") || is("ppoll") || is("select") || is("read-pipe") || is("epoll_wait") || is("waitpid"))
    CHECK_EQ(write(ends[1], "x", 1), 1);
  if (is("futex")) syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  if (is("pause") || is("sigsuspend")) pthread_kill(thread, SIGUSR1);
}

static int has_own_end(void) {
  return is("nanosleep") || is("clock_nanosleep") || is("clock_nanosleep-relative") || is("poll-timeout") || is("select-timeout") || is("futex-timeout") ||
         is("sigtimedwait");
}

static void check_result(void) {
  double took = now() - started_at;
  if (is("epoll_wait") && result == -1 && error == EINTR) return; /* signal(7): epoll_wait is never restarted */
  if (is("sigtimedwait")) {
    CHECK(result == -1 && (error == EAGAIN || error == EINTR), "sigtimedwait: %ld, %s", result, strerror(error));
    return;
  }
  if (is("futex-timeout")) CHECK(result == -1 && error == ETIMEDOUT, "futex: %ld, %s", result, strerror(error));
  else if (is("nanosleep") || is("clock_nanosleep") || is("clock_nanosleep-relative") || is("poll-timeout") || is("select-timeout") || is("futex"))
    CHECK(result == 0, "%s: %ld, %s", kind, result, strerror(error));
  else if (is("pause") || is("sigsuspend"))
    CHECK(result == -1 && error == EINTR && cancelled == SIGUSR1, "%s: %ld, %s", kind, result, strerror(error));
  else CHECK(result == 1, "%s: %ld, %s", kind, result, strerror(error));
  if (has_own_end()) CHECK(took > 0.99 && took < longest, "%s took %.3f s, asked for 1 s", kind, took);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  kind = argc > 2 ? argv[2] : "nanosleep";
  if (argc > 3) longest = atof(argv[3]);
  struct sigaction action = {.sa_handler = on_usr1};
  sigaction(SIGUSR1, &action, NULL);
  sigset_t block_usr2;
  sigemptyset(&block_usr2);
  sigaddset(&block_usr2, SIGUSR2);
  sigprocmask(SIG_BLOCK, &block_usr2, NULL);
  MUST(pipe(ends));
  for (;;) {
    pthread_t thread;
    done = cancelled = 0;
    waiter_tid = 0;
    pthread_create(&thread, NULL, run, NULL);
    while (waiter_tid == 0) usleep(100);
    usleep(20000);
    st_next();
    if (!has_own_end()) {
      usleep(20000);
      CHECK(!done || is("epoll_wait"), "%s ended by itself: %ld, %s", kind, result, strerror(error));
      wake(thread);
    }
    WAIT_FOR(done);
    if (!done) continue;
    pthread_join(thread, NULL);
    check_result();
    char rest[8];
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    while (read(ends[0], rest, sizeof rest) > 0) {}
    fcntl(ends[0], F_SETFL, 0);
  }
}
