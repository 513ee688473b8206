/*
 * Small properties of a task: nice, scheduling policy, I/O priority, oom_score_adj, death signal, dumpable, child_subreaper,
 * membarrier registration, THP disable. With the argument "extra" also personality, I/O priority,
 * memory-deny-write-execute and the core dump filter.
 */
#include "selftest.h"
#include <sys/personality.h>
#include <sys/resource.h>
#include <linux/membarrier.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif

static int read_number(const char *path) {
  char text[32] = "";
  int fd = open(path, O_RDONLY);
  if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) return -99999;
  close(fd);
  return (int)strtol(text, NULL, 0);
}

static void write_text(const char *path, const char *text) {
  int fd = MUST(open(path, O_WRONLY));
  MUST(write(fd, text, strlen(text)));
  close(fd);
}

static int death_signal(void) {
  int signal = -1;
  prctl(PR_GET_PDEATHSIG, &signal);
  return signal;
}

static void check_child(int dumpable) {
  CHECK_EQ(prctl(PR_GET_DUMPABLE), dumpable);
  CHECK_EQ(death_signal(), SIGUSR1);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int extra = argc > 2;
  for (int dumpable = 0; dumpable < 2; dumpable++) {
    char name[16];
    snprintf(name, sizeof name, "dumpable%d", dumpable);
    if (MUST(fork()) == 0) {
      st_child(name);
      signal(SIGUSR1, SIG_IGN);
      MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1));
      MUST(prctl(PR_SET_DUMPABLE, dumpable));
      while (st_next()) check_child(dumpable);
    }
    st_wait_child(name);
  }
  MUST(setpriority(PRIO_PROCESS, 0, 7));
  MUST(sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}));
  write_text("/proc/self/oom_score_adj", "123");
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
  MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0));
  int registered = (int)syscall(SYS_membarrier, 512 /* GET_REGISTRATIONS */, 0, 0);
  MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  if (extra) {
    MUST(personality(ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS));
    MUST(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
    write_text("/proc/self/coredump_filter", "0x7");
    if (prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0) st_skip("PR_SET_MDWE: %s", strerror(errno));
  }
  while (st_next()) {
    CHECK_EQ(getpriority(PRIO_PROCESS, 0), 7);
    CHECK_EQ(sched_getscheduler(0), SCHED_IDLE);
    CHECK_EQ(read_number("/proc/self/oom_score_adj"), 123);
    int subreaper = -1;
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    CHECK_EQ(subreaper, 1);
    CHECK_EQ(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), 0);
    CHECK_EQ(syscall(SYS_membarrier, 512, 0, 0), registered);
    CHECK_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
    CHECK_EQ(prctl(PR_GET_DUMPABLE), 1);
    if (extra) {
      CHECK_EQ(personality(0xffffffff), ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS);
      CHECK_EQ(syscall(SYS_ioprio_get, 1, 0), 2 << 13 | 6);
      CHECK_EQ(prctl(PR_GET_MDWE, 0, 0, 0, 0), 1);
      void *forbidden = mmap(NULL, ST_PAGE, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      CHECK(forbidden == MAP_FAILED, "memory that can be written and executed is allowed again");
    }
  }
}
