/*
 * Shapes of a process tree. The shape is the argument:
 *   depth      five generations, one child each
 *   wide       two hundred children
 *   zombies    children that ended with a status or by a signal and were not waited for
 *   stopped    children stopped by SIGSTOP
 *   sessions   a session whose leader has ended, with members that remain; and a process group likewise
 *   subreaper  a grandchild whose parent ended and that was adopted by its subreaper grandparent
 *   names      tasks that changed their name
 *   orphan     a child moved to another session and group than its parent's
 */
#include "selftest.h"

static pid_t children[256];
static pid_t root_pid;

static void stay(const char *name, void (*check)(int index), int index) {
  st_child(name);
  while (st_next())
    if (check) check(index);
}

static pid_t fork_or_die(void) { return MUST(fork()); }

static pid_t parents_seen[8];
static void check_depth(int index) {
  CHECK_EQ(getppid(), parents_seen[index]);
  CHECK_EQ(getsid(0), root_pid);
  CHECK_EQ(getpgrp(), root_pid);
}

static void depth(int level) {
  char name[16];
  snprintf(name, sizeof name, "level%d", level);
  parents_seen[level] = getpid();
  if (fork_or_die() == 0) {
    if (level < 5) depth(level + 1);
    stay(name, check_depth, level);
  }
  st_wait_child(name);
}

static void wide_child(int index) { CHECK(getppid() == root_pid, "child %d: parent is %d", index, getppid()); }

static void zombie(int index) {
  pid_t pid = fork_or_die();
  if (pid == 0) {
    if (index == 0) _exit(0);
    if (index == 1) _exit(42);
    signal(index == 2 ? SIGTERM : SIGKILL, SIG_DFL);
    raise(index == 2 ? SIGTERM : SIGKILL);
  }
  children[index] = pid;
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

static void check_zombies(void) {
  static const int statuses[] = {0, 42 << 8, SIGTERM, SIGKILL};
  for (int i = 0; i < 4; i++) {
    int status = -1;
    CHECK_EQ(waitpid(children[i], &status, WNOHANG), children[i]);
    CHECK_EQ(status, statuses[i]);
  }
  CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
  for (int i = 0; i < 4; i++) zombie(i);
}

static void stop_child(int index) {
  pid_t pid = children[index] = fork_or_die();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a stopped task would outlive a test that failed */
    for (;;) usleep(3000);
  }
  if (index == 2) return;
  kill(pid, SIGSTOP);
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)pid, &info, WSTOPPED | (index == 1 ? WNOWAIT : 0)));
}

static char state_of(pid_t pid) {
  char path[64], text[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY);
  if (fd < 0 || read(fd, text, sizeof text - 1) < 0) return '?';
  close(fd);
  char *end = strrchr(text, ')');
  return end ? end[2] : '?';
}

static void check_stopped(void) {
  int status = 0;
  CHECK_EQ(state_of(children[0]), 'T');
  CHECK_EQ(state_of(children[1]), 'T');
  CHECK(state_of(children[2]) != 'T', "a running child was stopped");
  kill(children[0], SIGCONT);
  CHECK_EQ(waitpid(children[0], &status, WCONTINUED), children[0]);
  CHECK(WIFCONTINUED(status), "status %x", status);
  WAIT_FOR(state_of(children[0]) != 'T');
  for (int i = 0; i < 3; i++) {
    kill(children[i], SIGKILL);
    CHECK_EQ(waitpid(children[i], &status, 0), children[i]);
    CHECK_EQ(status, SIGKILL);
  }
  for (int i = 0; i < 3; i++) stop_child(i);
}

static pid_t wanted_session, wanted_group;
static void check_ids(int index) {
  (void)index;
  CHECK_EQ(getsid(0), wanted_session);
  CHECK_EQ(getpgrp(), wanted_group);
}

/* A child starts a session (or only a group), leaves two members in it, and ends. */
static void dead_leader(const char *first, const char *second, int is_session) {
  pid_t leader = fork_or_die();
  if (leader == 0) {
    if (is_session) setsid();
    else setpgid(0, 0);
    wanted_session = getsid(0), wanted_group = getpgrp();
    if (fork_or_die() == 0) stay(first, check_ids, 0);
    if (fork_or_die() == 0) {
      if (is_session) setpgid(0, 0);
      wanted_group = getpgrp();
      stay(second, check_ids, 0);
    }
    st_wait_child(first);
    st_wait_child(second);
    _exit(0);
  }
  waitpid(leader, NULL, 0);
}

static void check_parent_is_root(int index) {
  (void)index;
  CHECK_EQ(getppid(), root_pid);
}

static void check_name(int index) {
  char name[16] = "", wanted[16];
  snprintf(wanted, sizeof wanted, "name (%d) :)", index);
  prctl(PR_GET_NAME, name);
  CHECK(strcmp(name, wanted) == 0, "the name is %s, wanted %s", name, wanted);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  const char *shape = argc > 2 ? argv[2] : "depth";
  char name[32];
  void (*check)(void) = NULL;
  root_pid = getpid();
  if (strcmp(shape, "depth") == 0) depth(1);
  if (strcmp(shape, "wide") == 0)
    for (int i = 0; i < 200; i++) {
      snprintf(name, sizeof name, "child%d", i);
      if (fork_or_die() == 0) stay(name, wide_child, i);
      st_wait_child(name);
    }
  if (strcmp(shape, "zombies") == 0) {
    for (int i = 0; i < 4; i++) zombie(i);
    check = check_zombies;
  }
  if (strcmp(shape, "stopped") == 0) {
    for (int i = 0; i < 3; i++) stop_child(i);
    check = check_stopped;
  }
  if (strcmp(shape, "sessions") == 0) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    dead_leader("session-member", "session-group", 1);
    dead_leader("group-member1", "group-member2", 0);
  }
  if (strcmp(shape, "subreaper") == 0) {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t middle = fork_or_die();
    if (middle == 0) {
      if (fork_or_die() == 0) {
        while (getppid() != root_pid) usleep(1000);
        stay("adopted", check_parent_is_root, 0);
      }
      _exit(0);
    }
    waitpid(middle, NULL, 0);
    st_wait_child("adopted");
  }
  if (strcmp(shape, "names") == 0)
    for (int i = 0; i < 3; i++) {
      snprintf(name, sizeof name, "named%d", i);
      if (fork_or_die() == 0) {
        char own[16];
        snprintf(own, sizeof own, "name (%d) :)", i);
        prctl(PR_SET_NAME, own);
        stay(name, check_name, i);
      }
      st_wait_child(name);
    }
  if (strcmp(shape, "orphan") == 0) {
    pid_t leader = fork_or_die();
    if (leader == 0) {
      setsid();
      wanted_session = wanted_group = getpid();
      if (fork_or_die() == 0) {
        wanted_group = getpid();
        setpgid(0, 0);
        stay("in-new-group", check_ids, 0);
      }
      stay("session-leader", check_ids, 0);
    }
    st_wait_child("in-new-group");
    st_wait_child("session-leader");
  }
  while (st_next()) {
    CHECK_EQ(getpid(), root_pid);
    if (check) check();
  }
}
