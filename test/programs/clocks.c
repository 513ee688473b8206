/*
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME neither go back nor jump, however long the program was away: the time between the
 * dump and the restore is not theirs. Says how much passed; the harness lets two seconds pass in between.
 */
#include "selftest.h"

static double read_clock(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE};
  st_init(argc, argv);
  double allowed = argc > 2 ? atof(argv[2]) : 1.5;
  for (;;) {
    double before[4];
    char go[PATH_MAX + 32];
    for (int i = 0; i < 4; i++) before[i] = read_clock(clocks[i]);
    /* Not st_next(): the clocks are read until the very last moment before the checkpoint. */
    static int round;
    if (round == 0) {
      char text[64];
      snprintf(text, sizeof text, "ready 0 %d", getpid());
      st_publish(text);
    } else {
      char text[2200];
      snprintf(text, sizeof text, st_failure_count ? "FAIL %d: %s" : "ok %d", round, st_failures);
      st_failure_count = 0, st_failures[0] = 0;
      st_publish(text);
    }
    snprintf(go, sizeof go, "%s.go%d", st_base, ++round);
    int reported = 0;
    for (long naps = 0; access(go, F_OK) != 0; naps++) {
      if (naps > 60000) _exit(94);
      usleep(2000);
      for (int i = 0; i < 4; i++) {
        double now = read_clock(clocks[i]);
        if (!reported) {
          CHECK(now >= before[i], "clock %d went back by %f s", clocks[i], before[i] - now);
          CHECK(now - before[i] < allowed, "clock %d jumped by %f s", clocks[i], now - before[i]);
          if (st_failure_count) reported = 1;
        }
        before[i] = now;
      }
    }
  }
}
