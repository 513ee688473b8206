/*
 * Descriptors that were passed on. An opener makes two sets of them, sends one to the task "first" and the other to "first"
 * and "second", and ends: nobody else has them. In each round first uses its own set and the common one, then second uses
 * the common one. That what both have is one description is told by kcmp, and by what one of them leaves for the other.
 *
 * Each kind makes its descriptors and adds them by name, or says why there are none here (st_missing). `use(turn)` finds what
 * was left for that turn, by make() for the first one, which is 0, and leaves what the next turn is to find. Between two
 * turns there may be a dump and a restore, in which no events may be left: where they matter, see passed_causes().
 */
#ifndef PASSED_H
#define PASSED_H

#include "selftest.h"
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/socket.h>

enum { PASSED_MOST = 64, PASSED_NOTES = 32 };

struct kind {
  const char *name;
  void (*make)(void);
  void (*use)(int turn);
};

struct passed_set {
  int count, fds[PASSED_MOST];
  char names[PASSED_MOST][24];
  /* A bit for each kind that there is. */
  uint64_t kinds;
};

/* What all tasks see. */
static struct {
  pid_t root, pids[2];
  int fds[2][PASSED_MOST];
  volatile int turn;
  /* SIGUSR1 that root has received. */
  volatile int signals;
  /* Numbers that a kind wants to remember with a set. */
  volatile int64_t notes[2][PASSED_NOTES];
} *shared;

static struct passed_set sets[2], *set;

static inline int set_number(void) { return (int)(set - sets); }

static inline void passed_add(const char *name, int fd) {
  if (set->count == PASSED_MOST) st_die(__FILE_NAME__, __LINE__, "too many descriptors");
  snprintf(set->names[set->count], sizeof set->names[0], "%s", name);
  set->fds[set->count++] = fd;
}

static inline void passed_add_pair(const char *one, const char *other, const int *ends) {
  passed_add(one, ends[0]), passed_add(other, ends[1]);
}

/* The descriptor of that name in the set at hand, or -1. */
static inline int passed_find(const char *name) {
  for (int i = 0; i < set->count; i++)
    if (strcmp(set->names[i], name) == 0) return set->fds[i];
  return -1;
}

static inline int passed(const char *name) {
  int fd = passed_find(name);
  CHECK(fd >= 0, "there is no %s", name);
  return fd;
}

/* A text, and a path of this set, made of a word and a number; good until eight others have been made. */
static inline char *said(const char *word, int number) {
  static char texts[8][48];
  static int last;
  last = (last + 1) % 8;
  snprintf(texts[last], sizeof texts[0], "%s-%d", word, number);
  return texts[last];
}
static inline char *path_of(const char *word) { return said(word, set_number()); }

/* In the common set, first causes an event, and second takes it in the same round; in the other one, first does both. */
static inline int passed_causes(int turn) { return set_number() == 0 || turn % 2 == 0; }
static inline int passed_takes(int turn) { return set_number() == 0 || turn % 2 == 1; }
/* The turn in which what is taken now was caused. */
static inline int passed_caused(int turn) { return set_number() == 0 ? turn : turn - 1; }

static inline void expect_text(const char *name, int fd, const char *wanted) {
  char text[128] = "";
  CHECK(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 2000) == 1, "%s: nothing comes", name);
  ssize_t got = read(fd, text, sizeof text - 1);
  CHECK(got == (ssize_t)strlen(wanted) && strcmp(text, wanted) == 0, "%s: got \"%s\" (%zd), wanted \"%s\"", name, text, got, wanted);
}

static inline void say(const char *name, int fd, const char *text) {
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: write: %s", name, strerror(errno));
}

/* Reads what was left for this turn at one descriptor, and leaves the next at the other. */
static inline void expect_and_say(const char *reader, const char *writer, int turn) {
  expect_text(reader, passed(reader), said(reader, turn));
  say(writer, passed(writer), said(reader, turn + 1));
}

static inline void passed_send(int to) {
  char control[CMSG_SPACE(PASSED_MOST * sizeof(int))] __attribute__((aligned(8))) = {0};
  size_t bytes = (size_t)set->count * sizeof(int);
  struct iovec part = {set, sizeof *set};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(bytes)};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(bytes);
  memcpy(CMSG_DATA(rights), set->fds, bytes);
  MUST(sendmsg(to, &message, 0));
}

static inline void passed_receive(int from) {
  char control[CMSG_SPACE(PASSED_MOST * sizeof(int))] __attribute__((aligned(8))) = {0};
  struct iovec part = {set, sizeof *set};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(from, &message, MSG_WAITALL) != sizeof *set) st_die(__FILE_NAME__, __LINE__, "no descriptors come");
  memcpy(set->fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), (size_t)set->count * sizeof(int));
}

static inline void passed_open(const struct kind *kinds, int count) {
  for (int i = 0; i < count; i++) {
    int had = set->count, missed = st_missing_count;
    kinds[i].make();
    if (set->count > had) set->kinds |= 1ULL << i;
    else if (st_missing_count == missed) st_die(__FILE_NAME__, __LINE__, kinds[i].name);
  }
}

static inline void passed_use(const struct kind *kinds, int count, int turn) {
  for (int i = 0; i < count; i++)
    if (set->kinds & 1ULL << i) kinds[i].use(turn);
}

static inline long passed_compare(int one, int other) {
  return syscall(SYS_kcmp, shared->pids[0], shared->pids[1], KCMP_FILE, one, other);
}

static inline void passed_check_sharing(void) {
  for (int i = 0; i < sets[1].count; i++) {
    CHECK(passed_compare(shared->fds[0][i], shared->fds[1][i]) == 0, "%s is two now", sets[1].names[i]);
    if (sets[0].count > i) CHECK(passed_compare(sets[0].fds[i], shared->fds[1][i]) > 0, "the two of %s are one now", sets[1].names[i]);
  }
}

/* First (0) or second (1). */
static inline void passed_task(int who, int ways[3][2], const struct kind *kinds, int count) {
  st_child(who == 0 ? "first" : "second");
  shared->pids[who] = getpid();
  set = &sets[0];
  if (who == 0) passed_receive(ways[0][1]);
  set = &sets[1];
  passed_receive(ways[1 + who][1]);
  memcpy(shared->fds[who], set->fds, sizeof set->fds);
  for (int i = 0; i < 6; i++) close(ways[i / 2][i % 2]);
  for (int round = 0; st_next(); round++) {
    WAIT_FOR(shared->turn == 2 * round + who);
    passed_check_sharing();
    set = &sets[0];
    if (who == 0) passed_use(kinds, count, round);
    set = &sets[1];
    passed_use(kinds, count, 2 * round + who);
    shared->turn++;
  }
}

static void passed_signal(int signal) { shared->signals += signal == SIGUSR1; }

/* The main program. Signals that are blocked in it are so in all tasks. */
static inline int passed_main(const struct kind *kinds, int count) {
  int ways[3][2], status = 0;
  shared = MUST_MAP(mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  shared->root = getpid();
  signal(SIGUSR1, passed_signal);
  for (int i = 0; i < 3; i++) MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ways[i]));
  for (int who = 0; who < 2; who++)
    if (MUST(fork()) == 0) passed_task(who, ways, kinds, count);
  pid_t opener = MUST(fork());
  if (opener == 0) {
    set = &sets[0], passed_open(kinds, count), passed_send(ways[0][0]);
    set = &sets[1], passed_open(kinds, count), passed_send(ways[1][0]), passed_send(ways[2][0]);
    _exit(0);
  }
  for (int i = 0; i < 3; i++) close(ways[i][1]);
  waitpid(opener, &status, 0);
  if (status != 0) _exit(96); /* it has said why */
  st_wait_child("first"), st_wait_child("second");
  for (int i = 0; i < 3; i++) close(ways[i][0]);
  while (st_next()) continue;
  return 0;
}

#endif
