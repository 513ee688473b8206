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
    struct itimerspec fast = {{0, 1000000}, {0, 1000000}};
    MUST(timer_settime(timer, 0, &fast, NULL));
    usleep(100000);
    st_next();
    siginfo_t infos[2];
    struct timespec wait = {2, 0};
    for (int i = 0; i < 2; i++) {
      CHECK_EQ(sigtimedwait(&set, &infos[i], &wait), SIGRTMIN + 2);
      CHECK_EQ(infos[i].si_code, SI_TIMER);
      CHECK_EQ(infos[i].si_value.sival_int, 5);
    }
    /* A timer that expires while the signal is taken and put back has its next one in front of it. */
    int most = infos[0].si_overrun > infos[1].si_overrun ? infos[0].si_overrun : infos[1].si_overrun;
    CHECK(most > 50, "the overrun counts are %d and %d, one was over 50", infos[0].si_overrun, infos[1].si_overrun);
  }
}
