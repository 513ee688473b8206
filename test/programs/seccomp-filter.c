/*
 * Seccomp filters: three stacked ones for all threads (TSYNC), a fourth on one thread only. Each answers one system
 * call with an error of its own, so it shows whether every filter is there and on the right thread.
 */
#include "selftest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>

static volatile int ready[2], round_now, seen[2];

static void add_filter(long call, int answer, unsigned flags) {
  struct sock_filter code[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)answer),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

static void expect(long call, int answer, const char *who) {
  errno = 0;
  long got = syscall(call, 0, 0, 0, 0, 0, 0);
  if (answer == 0) CHECK(got >= 0 || (errno != 77 && errno != 78 && errno != 79 && errno != 80), "%s: call %ld is filtered", who, call);
  else CHECK(got == -1 && errno == answer, "%s: call %ld: %ld, errno %d, wanted %d", who, call, got, errno, answer);
}

static void check(const char *who, int has_own) {
  expect(SYS_acct, 77, who);
  expect(SYS_swapoff, 78, who);
  expect(SYS_sync, 79, who);
  expect(SYS_getegid, has_own ? 80 : 0, who);
  CHECK_EQ(prctl(PR_GET_SECCOMP), 2);
}

static void *run(void *argument) {
  int index = (int)(intptr_t)argument, round = 0;
  ready[index] = 1;
  while (round_now == 0 && ready[index] == 1) usleep(2000);
  if (index == 1) add_filter(SYS_getegid, 80, 0);
  ready[index] = 3;
  for (;;) {
    while (round_now == round) usleep(5000);
    round = round_now;
    check(index ? "the thread with a filter of its own" : "a thread", index);
    seen[index] = round;
  }
  return NULL;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  pthread_t threads[2];
  for (intptr_t i = 0; i < 2; i++) {
    pthread_create(&threads[i], NULL, run, (void *)i);
    WAIT_FOR(ready[i] == 1);
  }
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  add_filter(SYS_acct, 77, SECCOMP_FILTER_FLAG_TSYNC);
  add_filter(SYS_swapoff, 78, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW);
  add_filter(SYS_sync, 79, SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG);
  for (int i = 0; i < 2; i++) ready[i] = 2;
  for (int i = 0; i < 2; i++) WAIT_FOR(ready[i] == 3);
  if (MUST(fork()) == 0) {
    st_child("child");
    while (st_next()) check("the child", 0);
  }
  st_wait_child("child");
  for (int round = 1; st_next(); round++) {
    check("main", 0);
    round_now = round;
    for (int i = 0; i < 2; i++) WAIT_FOR(seen[i] == round);
  }
}
