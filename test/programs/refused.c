/* Holds one object that no checkpoint can keep; its name is the argument. */
#include "selftest.h"
#include <asm/ldt.h>
#include <linux/perf_event.h>
#include <mqueue.h>

static int hold(const char *name) {
  if (strcmp(name, "secret-memory") == 0) return (int)syscall(SYS_memfd_secret, 0);
  if (strcmp(name, "message-queue") == 0) {
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
    char queue[40];
    snprintf(queue, sizeof queue, "/selftest-%d", getpid());
    int fd = mq_open(queue, O_CREAT | O_RDWR, 0600, &attr);
    mq_unlink(queue);
    return fd;
  }
  if (strcmp(name, "pressure-trigger") == 0) return open("/proc/pressure/memory", O_RDWR);
  if (strcmp(name, "perf-event") == 0) {
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK};
    return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
  }
  if (strcmp(name, "pending-trap") == 0) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return kill(getpid(), SIGTRAP);
  }
  struct user_desc segment = {.limit = 1, .seg_32bit = 1};
  return (int)syscall(SYS_modify_ldt, 1, &segment, sizeof segment);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int held = hold(argv[2]);
  if (held < 0) st_skip("there is no %s here: %s", argv[2], strerror(errno));
  while (st_next()) CHECK(held == 0 || fcntl(held, F_GETFD) >= 0, "it is gone");
}
