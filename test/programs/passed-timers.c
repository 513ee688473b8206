/*
 * timerfds on all five clocks that were passed on (passed.h). One that was set to an absolute time has the deadline that it was
 * set to, however long a dump and a restore take, to the microsecond: late by a little of each round, never early; and when
 * it is periodic and nobody has read it for long, it gives all its expirations, exactly. The others go on with the rest.
 */
#include "passed.h"
#include <sys/timerfd.h>

#define SECOND 1000000000LL
/* What a round may add to a deadline. */
#define LATE_MAX 50000LL
#define EARLY_MAX 1000LL
#define INTERVAL 10000000LL

static const struct timer {
  const char *name;
  clockid_t clock;
  /* The clock that it goes by. */
  clockid_t base;
  int flags;
  int is_periodic;
} timers[] = {
  {"realtime", CLOCK_REALTIME, CLOCK_REALTIME, TFD_TIMER_ABSTIME, 0},
  {"realtime, rest", CLOCK_REALTIME, CLOCK_REALTIME, 0, 0},
  {"realtime, ticks", CLOCK_REALTIME, CLOCK_REALTIME, TFD_TIMER_ABSTIME, 1},
  {"monotonic", CLOCK_MONOTONIC, CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, 0},
  {"monotonic, rest", CLOCK_MONOTONIC, CLOCK_MONOTONIC, 0, 0},
  {"monotonic, ticks", CLOCK_MONOTONIC, CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, 1},
  {"monotonic, rest, ticks", CLOCK_MONOTONIC, CLOCK_MONOTONIC, 0, 1},
  {"boottime", CLOCK_BOOTTIME, CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, 0},
  {"boottime, rest", CLOCK_BOOTTIME, CLOCK_BOOTTIME, 0, 0},
  {"boottime, ticks", CLOCK_BOOTTIME, CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, 1},
  {"boottime, rest, ticks", CLOCK_BOOTTIME, CLOCK_BOOTTIME, 0, 1},
  {"realtime alarm", CLOCK_REALTIME_ALARM, CLOCK_REALTIME, TFD_TIMER_ABSTIME, 0},
  {"realtime alarm, ticks", CLOCK_REALTIME_ALARM, CLOCK_REALTIME, TFD_TIMER_ABSTIME, 1},
  {"boottime alarm", CLOCK_BOOTTIME_ALARM, CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, 0},
  {"boottime alarm, rest", CLOCK_BOOTTIME_ALARM, CLOCK_BOOTTIME, 0, 0},
  {"boottime alarm, ticks", CLOCK_BOOTTIME_ALARM, CLOCK_BOOTTIME, TFD_TIMER_ABSTIME, 1},
};
enum { COUNT = sizeof timers / sizeof timers[0] };

static int64_t now_of(const struct timer *timer) {
  struct timespec now;
  MUST(clock_gettime(timer->base, &now));
  return now.tv_sec * SECOND + now.tv_nsec;
}

/* The deadline or, of a periodic one, the first one; and the expirations that have been read. */
static volatile int64_t *first_of(const struct timer *timer) { return &shared->notes[set_number()][timer - timers]; }
static volatile int64_t *read_of(const struct timer *timer) { return &shared->notes[set_number()][COUNT + (timer - timers)]; }

static struct timespec in_spec(int64_t ns) { return (struct timespec){ns / SECOND, ns % SECOND}; }

static void arm(const struct timer *timer, int fd, int turn) {
  int64_t before, rest = timer->is_periodic ? INTERVAL : (5000 + turn) * SECOND;
  struct itimerspec spec = {in_spec(timer->is_periodic ? INTERVAL : 3 * SECOND), in_spec(rest)};
  do {
    before = now_of(timer);
    if (timer->flags & TFD_TIMER_ABSTIME) spec.it_value = in_spec(before + rest);
    CHECK_EQ(timerfd_settime(fd, timer->flags, &spec, NULL), 0);
  } while (now_of(timer) - before > LATE_MAX);
  *first_of(timer) = before + rest, *read_of(timer) = 0;
}

static void make_timers(void) {
  for (const struct timer *timer = timers; timer < timers + COUNT; timer++) {
    int fd = timerfd_create(timer->clock, TFD_NONBLOCK);
    if (fd < 0 && errno == EPERM) {
      st_missing("timerfd, %s: it needs CAP_WAKE_ALARM", timer->name);
      continue;
    }
    passed_add(timer->name, MUST(fd)), arm(timer, fd, 0);
  }
}

/* How much later than it was set to. */
static int64_t allowance(const struct timer *timer, int rounds) {
  int is_rest = !(timer->flags & TFD_TIMER_ABSTIME);
  // It is the rest that stays the same, without the time of the dump.
  return is_rest ? 60 * SECOND : LATE_MAX * rounds;
}

static void check_deadline(const struct timer *timer, int fd, int rounds) {
  int64_t before, after, rest;
  struct itimerspec spec = {0};
  int tries = 0;
  do {
    before = now_of(timer);
    CHECK_EQ(timerfd_gettime(fd, &spec), 0);
    after = now_of(timer);
  } while (after - before > 5000 && ++tries < 1000);
  rest = spec.it_value.tv_sec * SECOND + spec.it_value.tv_nsec;
  int64_t late = before + rest - *first_of(timer), early = *first_of(timer) - (after + rest);
  CHECK(late <= allowance(timer, rounds), "%s (set %d): its deadline is %ld ns too late", timer->name, set_number(), (long)late);
  CHECK(early <= EARLY_MAX, "%s (set %d): its deadline is %ld ns too early", timer->name, set_number(), (long)early);
  CHECK(spec.it_interval.tv_sec == 3 && spec.it_interval.tv_nsec == 0, "%s: its interval is another", timer->name);
}

/* Read in the middle of an interval, there is only one right number. */
static void check_ticks(const struct timer *timer, int fd) {
  int64_t first = *first_of(timer), before, after, phase;
  do {
    before = now_of(timer), phase = (before - first) % INTERVAL;
  } while (phase < INTERVAL / 4 || phase > INTERVAL / 2);
  uint64_t got = 0;
  if (read(fd, &got, sizeof got) != sizeof got) got = 0;
  after = now_of(timer);
  CHECK(got > 0 || set_number() == 1, "%s: it has not expired", timer->name);
  *read_of(timer) += (int64_t)got;
  /* One that was set to a rest goes on with the rest, without the time of the dump. */
  int64_t least = timer->flags & TFD_TIMER_ABSTIME ? (before - first) / INTERVAL + 1 : *read_of(timer), most = (after - first) / INTERVAL + 1;
  CHECK(*read_of(timer) >= least && *read_of(timer) <= most, "%s (set %d): it has expired %ld times, %ld of them now, and not %ld",
        timer->name, set_number(), (long)*read_of(timer), (long)got, (long)least);
}

/* The own set keeps its deadlines over all rounds; in the common one, who has looked sets another. */
static void use_timers(int turn) {
  for (const struct timer *timer = timers; timer < timers + COUNT; timer++) {
    int fd = passed_find(timer->name), is_own = set_number() == 0;
    if (fd < 0) continue;
    if (timer->is_periodic) check_ticks(timer, fd);
    else check_deadline(timer, fd, is_own ? turn + 1 : 1);
    if (!is_own && !timer->is_periodic) arm(timer, fd, turn + 1);
  }
}

static const struct kind kinds[] = {{"timerfd", make_timers, use_timers}};

int main(int argc, char **argv) {
  st_init(argc, argv);
  return passed_main(kinds, sizeof kinds / sizeof kinds[0]);
}
