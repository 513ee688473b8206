/*
 * Timers of every sort, each with a long interval whose remaining time is checked, and short ones that must fire again:
 * the three interval timers, POSIX timers on several clocks with ids that have gaps, SIGEV_NONE, SIGEV_SIGNAL and
 * SIGEV_THREAD_ID, an unarmed one, one that has overrun.
 */
/* flags: -lrt */
#include "selftest.h"
#include <sys/time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile int alarms, timer_signals, last_value;
static void on_alarm(int signal) { alarms += signal == SIGALRM; }
static void on_timer(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  timer_signals++;
  last_value = info->si_value.sival_int;
}

struct timer {
  const char *name;
  clockid_t clock;
  int notify;
  int id;
  struct itimerspec set;
};

static struct timer timers[] = {
  {"realtime, silent", CLOCK_REALTIME, SIGEV_NONE, -1, {{7, 5}, {5000, 0}}},
  {"monotonic, silent", CLOCK_MONOTONIC, SIGEV_NONE, -1, {{0, 0}, {6000, 0}}},
  {"boottime, signal", CLOCK_BOOTTIME, SIGEV_SIGNAL, -1, {{9, 0}, {7000, 0}}},
  {"thread time", CLOCK_THREAD_CPUTIME_ID, SIGEV_NONE, -1, {{0, 0}, {8000, 0}}},
  {"process time", CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, -1, {{1, 0}, {9000, 0}}},
  {"unarmed", CLOCK_MONOTONIC, SIGEV_SIGNAL, -1, {{0, 0}, {0, 0}}},
  {"to a thread, fast", CLOCK_MONOTONIC, SIGEV_THREAD_ID, -1, {{0, 20000000}, {0, 20000000}}},
};
#define COUNT ((int)(sizeof timers / sizeof *timers))

/* Raw calls: the C library's timer_t is not the kernel's id. */
static int create(struct timer *timer, int value) {
  struct sigevent event = {.sigev_notify = timer->notify, .sigev_signo = SIGRTMIN + 2, .sigev_value.sival_int = value};
  if (timer->notify == SIGEV_THREAD_ID) event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  int id = -1;
  MUST(syscall(SYS_timer_create, timer->clock, &event, &id));
  return id;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct sigaction on_alarm_action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  struct sigaction on_timer_action = {.sa_sigaction = on_timer, .sa_flags = SA_RESTART | SA_SIGINFO};
  MUST(sigaction(SIGALRM, &on_alarm_action, NULL));
  MUST(sigaction(SIGRTMIN + 2, &on_timer_action, NULL));
  MUST(setitimer(ITIMER_REAL, &(struct itimerval){{0, 30000}, {0, 30000}}, NULL));
  MUST(setitimer(ITIMER_VIRTUAL, &(struct itimerval){{3000, 5}, {4000, 0}}, NULL));
  MUST(setitimer(ITIMER_PROF, &(struct itimerval){{0, 0}, {5000, 0}}, NULL));
  for (int i = 0; i < COUNT; i++) {
    for (int gap = 0; gap < i; gap++) MUST(syscall(SYS_timer_delete, create(&timers[i], 0)));
    timers[i].id = create(&timers[i], 100 + i);
    MUST(syscall(SYS_timer_settime, timers[i].id, 0, &timers[i].set, NULL));
  }
  while (st_next()) {
    for (int i = 0; i < COUNT - 1; i++) {
      struct itimerspec is;
      memset(&is, 0xff, sizeof is);
      struct timer *timer = &timers[i];
      CHECK(syscall(SYS_timer_gettime, timer->id, &is) == 0, "timer %d (%s): %s", timer->id, timer->name, strerror(errno));
      CHECK(is.it_interval.tv_sec == timer->set.it_interval.tv_sec && is.it_interval.tv_nsec == timer->set.it_interval.tv_nsec,
            "%s: interval %ld.%09ld", timer->name, is.it_interval.tv_sec, is.it_interval.tv_nsec);
      long left = is.it_value.tv_sec, set = timer->set.it_value.tv_sec;
      CHECK(left <= set && left >= set - 60 && (set > 0 || is.it_value.tv_nsec == 0), "%s: %ld s left of %ld", timer->name, left, set);
    }
    struct itimerval is;
    getitimer(ITIMER_VIRTUAL, &is);
    CHECK(is.it_interval.tv_sec == 3000 && is.it_interval.tv_usec == 5 && is.it_value.tv_sec >= 3900, "ITIMER_VIRTUAL has %ld s left", is.it_value.tv_sec);
    getitimer(ITIMER_PROF, &is);
    CHECK(is.it_interval.tv_sec == 0 && is.it_value.tv_sec >= 4900, "ITIMER_PROF has %ld s left", is.it_value.tv_sec);
    getitimer(ITIMER_REAL, &is);
    CHECK_EQ(is.it_interval.tv_usec, 30000);
    int alarms_before = alarms, signals_before = timer_signals;
    WAIT_FOR(alarms > alarms_before + 2);
    WAIT_FOR(timer_signals > signals_before + 2);
    CHECK_EQ(last_value, 100 + COUNT - 1);
    int new_id = create(&timers[5], 0);
    CHECK(new_id > timers[COUNT - 1].id, "a new timer got id %d, the last had %d", new_id, timers[COUNT - 1].id);
    syscall(SYS_timer_delete, new_id);
  }
}
