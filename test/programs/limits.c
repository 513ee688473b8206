/* All sixteen resource limits, soft and hard, of a parent and a child that differ. */
#include "selftest.h"
#include <sys/resource.h>

static struct rlimit before[RLIM_NLIMITS];

static void lower(int which) {
  for (int i = 0; i < RLIM_NLIMITS; i++) {
    struct rlimit limit;
    MUST(getrlimit(i, &limit));
    rlim_t hard = limit.rlim_max == RLIM_INFINITY ? 100000000000ULL : limit.rlim_max;
    if (i == RLIMIT_CPU) hard = 100000;
    if (i == RLIMIT_NOFILE) hard = 900;
    limit.rlim_max = hard - (rlim_t)(hard > 1000 ? which * 16 : 0);
    limit.rlim_cur = hard > 1000 ? limit.rlim_max - 500 : limit.rlim_max;
    if (i == RLIMIT_FSIZE || i == RLIMIT_DATA) limit.rlim_cur = limit.rlim_max = RLIM_INFINITY;
    if (setrlimit(i, &limit) != 0 && errno != EPERM) st_die(__FILE__, __LINE__, "setrlimit");
    MUST(getrlimit(i, &before[i]));
  }
}

static void check(void) {
  for (int i = 0; i < RLIM_NLIMITS; i++) {
    struct rlimit now;
    CHECK_EQ(getrlimit(i, &now), 0);
    CHECK(now.rlim_cur == before[i].rlim_cur && now.rlim_max == before[i].rlim_max, "limit %d is %lu of %lu, was %lu of %lu", i,
          now.rlim_cur, now.rlim_max, before[i].rlim_cur, before[i].rlim_max);
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  if (MUST(fork()) == 0) {
    st_child("child");
    lower(2);
    while (st_next()) check();
  }
  st_wait_child("child");
  lower(1);
  while (st_next()) check();
}
