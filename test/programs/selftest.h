/*
 * The protocol between a test program and the harness (test/harness/harness.ts).
 *
 * A program is started as `program STATUS [ARGS...]`. It sets up its state, publishes "ready 0 PID" in the file
 * STATUS (written aside, then renamed, so a reader never sees half of it), and waits until the file STATUS.go1 exists.
 * In between it may be checkpointed and restored. Then it checks itself and publishes "ok 1", or "FAIL 1: what, got,
 * wanted", and waits for STATUS.go2. A program that can't run here publishes "SKIP why" and ends; one that can't test some
 * part of what it is for says so by st_missing().
 *
 *     int main(int argc, char **argv) {
 *       st_init(argc, argv);
 *       ... set up ...
 *       while (st_next()) { CHECK(...); ... change the state for another round ... }
 *     }
 *
 * A child process that checks itself calls st_child("name") and then runs its own st_next() loop: it publishes in
 * STATUS.name, and the harness waits for every such file it saw at the start. st_hand_over() is for what a task has that
 * did not open it.
 *
 * While it waits, a program holds no file open and sleeps in short naps. It ends by itself after two minutes.
 */
#ifndef SELFTEST_H
#define SELFTEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ST_PAGE 4096UL
#define ST_LIFE_SECONDS 120
#define ST_NAP_MICROSECONDS 4000

static char st_base[PATH_MAX];   /* STATUS as given: go files are next to it. */
static char st_status[PATH_MAX]; /* where this process publishes */
static char st_failures[2048];
static int st_failure_count;
static int st_missing_count;
static int st_round;
static int st_published;

static inline void st_publish(const char *text) {
  char aside[PATH_MAX + 32];
  snprintf(aside, sizeof aside, "%s.tmp%d", st_status, getpid());
  int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) _exit(90);
  size_t length = strlen(text);
  if (write(fd, text, length) != (ssize_t)length) _exit(91);
  close(fd);
  if (rename(aside, st_status) != 0) _exit(92);
}

/* Ends the program before it is ready: the kernel or the machine can't do what is to be tested. */
static inline void st_skip(const char *format, ...) {
  char why[512], text[600];
  va_list list;
  va_start(list, format);
  vsnprintf(why, sizeof why, format, list);
  va_end(list);
  snprintf(text, sizeof text, "SKIP %s", why);
  st_publish(text);
  _exit(0);
}

/* Says, before the program is ready, that a part of what it tests can't be tested here: the test tells, and goes on with the rest. */
static inline void st_missing(const char *format, ...) {
  char path[PATH_MAX + 32], why[512];
  va_list list;
  va_start(list, format);
  vsnprintf(why, sizeof why, format, list);
  va_end(list);
  snprintf(path, sizeof path, "%s-missing", st_base);
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0 || dprintf(fd, "%s\n", why) < 0) _exit(95);
  close(fd);
  st_missing_count++;
}

/* Remembers a failed check; st_next() publishes what was remembered. */
static inline void st_failf(const char *file, int line, const char *format, ...) {
  int saved_errno = errno;
  if (++st_failure_count > 8) return;
  char what[400];
  va_list list;
  va_start(list, format);
  vsnprintf(what, sizeof what, format, list);
  va_end(list);
  size_t used = strlen(st_failures);
  snprintf(st_failures + used, sizeof st_failures - used, "%s%s:%d: %s", used ? "; " : "", file, line, what);
  errno = saved_errno;
}

/* Ends the program: its state could not be set up. */
static inline void st_die(const char *file, int line, const char *what) {
  char text[700];
  snprintf(text, sizeof text, "FAIL setup: %s:%d: %s: %s", file, line, what, strerror(errno));
  st_publish(text);
  _exit(93);
}

#define CHECK(condition, ...)                                        \
  do {                                                               \
    if (!(condition)) st_failf(__FILE_NAME__, __LINE__, __VA_ARGS__); \
  } while (0)

/* Two integers are to be equal. */
#define CHECK_EQ(got, wanted)                                                                                      \
  do {                                                                                                             \
    long long st_got = (long long)(got), st_wanted = (long long)(wanted);                                          \
    if (st_got != st_wanted)                                                                                       \
      st_failf(__FILE_NAME__, __LINE__, "%s: got %lld (0x%llx), wanted %lld (0x%llx)", #got, st_got, st_got,       \
               st_wanted, st_wanted);                                                                              \
  } while (0)

/* A call that must not return a negative value while the state is set up. */
#define MUST(call)                                            \
  ({                                                          \
    __typeof__(call) st_result = (call);                      \
    if ((long)st_result < 0) st_die(__FILE_NAME__, __LINE__, #call); \
    st_result;                                                \
  })

#define MUST_MAP(call)                                                 \
  ({                                                                   \
    void *st_mapped = (call);                                          \
    if (st_mapped == MAP_FAILED) st_die(__FILE_NAME__, __LINE__, #call); \
    st_mapped;                                                         \
  })

/* Fills memory with a pattern that depends on the seed and on the position, so moved pages are noticed. */
static inline void st_fill(void *start, size_t bytes, uint64_t seed) {
  uint64_t *word = start;
  for (size_t i = 0; i < bytes / 8; i++) word[i] = (seed + 1) * 0x9E3779B97F4A7C15ULL ^ (i * 0xD1B54A32D192ED03ULL);
}

/* The position of the first wrong byte (rounded to 8), or -1 when all is as st_fill() wrote it. */
static inline long st_first_wrong(const void *start, size_t bytes, uint64_t seed) {
  const uint64_t *word = start;
  for (size_t i = 0; i < bytes / 8; i++)
    if (word[i] != ((seed + 1) * 0x9E3779B97F4A7C15ULL ^ (i * 0xD1B54A32D192ED03ULL))) return (long)(i * 8);
  return -1;
}

#define CHECK_FILL(start, bytes, seed)                                                                    \
  do {                                                                                                    \
    long st_at = st_first_wrong(start, bytes, seed);                                                      \
    if (st_at >= 0) st_failf(__FILE_NAME__, __LINE__, "%s: content differs from byte %ld on", #start, st_at); \
  } while (0)

#define CHECK_ZERO(start, bytes)                                                                  \
  do {                                                                                            \
    const unsigned char *st_byte = (const unsigned char *)(start);                                \
    for (size_t st_i = 0; st_i < (size_t)(bytes); st_i++)                                         \
      if (st_byte[st_i] != 0) {                                                                   \
        st_failf(__FILE_NAME__, __LINE__, "%s: byte %zu is not zero", #start, st_i);              \
        break;                                                                                    \
      }                                                                                           \
  } while (0)

static inline void st_nap(void) { usleep(ST_NAP_MICROSECONDS); }

/* Waits until the condition holds; gives up (and says so) after ten seconds. */
#define WAIT_FOR(condition)                                                                            \
  do {                                                                                                 \
    int st_naps = 0;                                                                                   \
    while (!(condition) && ++st_naps < 2500) st_nap();                                                 \
    if (st_naps >= 2500) st_failf(__FILE_NAME__, __LINE__, "waited ten seconds for: %s", #condition);  \
  } while (0)

/*
 * Takes over as an orphan with a session of its own and nothing on 0, 1, 2, so that the program depends on nobody.
 * With SELFTEST_FOREGROUND in the environment it stays what the starter made it.
 */
static inline void st_init(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s STATUS [ARGS...]\n", argv[0]);
    exit(2);
  }
  snprintf(st_base, sizeof st_base, "%s", argv[1]);
  snprintf(st_status, sizeof st_status, "%s", argv[1]);
  if (getenv("SELFTEST_FOREGROUND")) return;
  pid_t pid = fork();
  if (pid < 0) st_die(__FILE_NAME__, __LINE__, "fork");
  if (pid > 0) _exit(0);
  setsid();
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (null > 2) close(null);
  umask(0);
}

/* Called in a child process: from now on it publishes as STATUS.name. */
static inline void st_child(const char *name) {
  snprintf(st_status, sizeof st_status, "%s.%.64s", st_base, name);
  st_round = 0;
  st_published = 0;
  st_failures[0] = 0;
  st_failure_count = 0;
}

/* Waits until the child that publishes as STATUS.name has published anything. */
static inline void st_wait_child(const char *name) {
  char path[PATH_MAX + 80];
  snprintf(path, sizeof path, "%s.%.64s", st_base, name);
  for (int i = 0; i < 5000; i++) {
    if (access(path, F_OK) == 0) return;
    usleep(2000);
  }
  errno = ETIMEDOUT;
  st_die(__FILE_NAME__, __LINE__, name);
}

static inline void st_wait_go(int round) {
  char go[PATH_MAX + 32];
  snprintf(go, sizeof go, "%s.go%d", st_base, round);
  for (long naps = 0; access(go, F_OK) != 0; naps++) {
    if (naps > ST_LIFE_SECONDS * 1000000L / ST_NAP_MICROSECONDS) _exit(94);
    st_nap();
  }
}

/* Publishes the result of the round that ended (or that the set-up is done), then waits for the next "go". */
static inline int st_next(void) {
  char text[2200];
  if (!st_published && st_failure_count > 0)
    snprintf(text, sizeof text, "FAIL setup: %s", st_failures);
  else if (!st_published)
    snprintf(text, sizeof text, "ready 0 %d", getpid());
  else if (st_failure_count > 0)
    snprintf(text, sizeof text, "FAIL %d: %s", st_round, st_failures);
  else
    snprintf(text, sizeof text, "ok %d", st_round);
  st_published = 1;
  st_failures[0] = 0;
  st_failure_count = 0;
  st_publish(text);
  st_wait_go(++st_round);
  return 1;
}

/*
 * Hands over what has been set up to a child, which goes on and publishes as STATUS.heir. The task that opened all of it
 * closes it, and only waits from then on.
 */
static inline void st_hand_over(void) {
  pid_t pid = fork();
  if (pid < 0) st_die(__FILE_NAME__, __LINE__, "fork");
  if (pid == 0) {
    st_child("heir");
    return;
  }
  st_wait_child("heir");
  for (int fd = 3; fd < 1024; fd++) close(fd);
  while (st_next()) continue;
}

#endif
