/*
 * A task, a thread and a child in cgroups of their own. The test makes the cgroups, and removes them after each dump.
 * Arguments: the version of the hierarchy (1 or 2), its name in /proc/PID/cgroup ("name=x", or "" for version 2), the
 * folder of the cgroup in which all of it happens, and "namespace" when the task makes a cgroup namespace there.
 */
#include "selftest.h"

#include <pthread.h>

static const char *hierarchy, *folder;
static volatile pid_t worker;

static void *work(void *unused) {
  (void)unused;
  worker = gettid();
  for (;;) usleep(3000);
}

static int put_into(const char *cgroup, const char *file, pid_t id) {
  char path[PATH_MAX], text[16];
  snprintf(path, sizeof path, "%s/%s/%s", folder, cgroup, file);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  int length = snprintf(text, sizeof text, "%d", id);
  int result = fd < 0 ? -1 : (int)write(fd, text, (size_t)length);
  if (fd >= 0) close(fd);
  return result;
}

/* The path of a thread in the hierarchy of the test, as this process sees it. */
static void cgroup_of(pid_t tid, char *path, size_t size) {
  char file[64], line[PATH_MAX + 64];
  snprintf(file, sizeof file, "/proc/%d/cgroup", tid);
  FILE *lines = fopen(file, "r");
  path[0] = 0;
  while (lines && fgets(line, sizeof line, lines)) {
    char *name = strchr(line, ':') + 1;
    char *rest = strchr(name, ':');
    *rest++ = 0;
    if (strcmp(name, hierarchy) == 0) snprintf(path, size, "%.*s", (int)strcspn(rest, "\n"), rest);
  }
  if (lines) fclose(lines);
}

static void check_cgroup(const char *who, pid_t tid, const char *wanted) {
  char path[PATH_MAX];
  cgroup_of(tid, path, sizeof path);
  CHECK(strcmp(path, wanted) == 0, "%s is in %s instead of %s", who, path, wanted);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int version = atoi(argv[2]);
  hierarchy = argv[3];
  folder = argv[4];
  MUST(put_into("main", "cgroup.procs", getpid()));
  if (argc > 5) MUST(unshare(CLONE_NEWCGROUP));
  pthread_t thread;
  if (pthread_create(&thread, NULL, work, NULL) != 0) st_die(__FILE_NAME__, __LINE__, "pthread_create");
  while (worker == 0) usleep(1000);
  MUST(put_into("main/worker", version == 1 ? "tasks" : "cgroup.threads", worker));
  pid_t child = MUST(fork());
  char own[PATH_MAX], of_worker[PATH_MAX], of_child[PATH_MAX];
  if (child == 0) {
    MUST(put_into("child", "cgroup.procs", getpid()));
    cgroup_of(getpid(), of_child, sizeof of_child);
    st_child("child");
    while (st_next()) check_cgroup("the child", getpid(), of_child);
    return 0;
  }
  st_wait_child("child");
  cgroup_of(getpid(), own, sizeof own);
  cgroup_of(worker, of_worker, sizeof of_worker);
  while (st_next()) {
    check_cgroup("the task", getpid(), own);
    check_cgroup("the thread", worker, of_worker);
    if (argc > 5) CHECK(strcmp(own, "/") == 0, "the task sees itself in %s", own);
  }
}
