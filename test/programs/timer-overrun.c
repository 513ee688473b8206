/*
 * A POSIX timer whose signal is pending and blocked, with expirations that have not been delivered: its overrun count.
 * With the argument "thread" the signal goes to the thread instead of the process.
 */
/* flags: -lrt */
#include "selftest.h"

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = 5};
  if (argc > 2) {
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = getpid();
  }
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 2);
  sigprocmask(SIG_BLOCK, &set, NULL);
  timer_t timer;
  MUST(timer_create(CLOCK_MONOTONIC, &event, &timer));
  for (;;) {
    /* One that expires while a dump has taken the signal has its next one in front of it: that must not happen often. */
    struct itimerspec fast = {{0, 10000000}, {0, 10000000}};
    MUST(timer_settime(timer, 0, &fast, NULL));
    usleep(600000);
    st_next();
    siginfo_t info;
    struct timespec wait = {2, 0};
    CHECK_EQ(sigtimedwait(&set, &info, &wait), SIGRTMIN + 2);
    CHECK_EQ(info.si_code, SI_TIMER);
    CHECK_EQ(info.si_value.sival_int, 5);
    CHECK(info.si_overrun > 50, "the overrun count is %d, was over 50", info.si_overrun);
    CHECK_EQ(sigtimedwait(&set, &info, &wait), SIGRTMIN + 2);
  }
}
