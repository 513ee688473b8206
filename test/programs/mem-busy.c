/*
 * A program that writes to all of its memory all the time, for dumps with --leave-running: threads go over their pages
 * and count each page from one generation to the next. So at every moment the pages before the one a thread is at have
 * the next generation, and those behind it have the old one. A copy that is not of one moment, or not of the moment at
 * which the registers were taken, breaks that, and the thread notices in its next round.
 *
 * It also watches for what a fork that it did not make would show: SIGCHLD, a child to wait for, descriptors that stay
 * open after it has closed them. With "seccomp" it is confined by a filter that kills it for making processes. With
 * "forkable" no memory is locked, and a fork has all of it.
 */
#include "selftest.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>

#define BIG (16UL << 20)
#define SMALL (1UL << 20)

struct area {
  volatile uint64_t *words;
  size_t pages;
};

/* One thread: its areas, as one sequence of pages. */
struct writer {
  struct area areas[4];
  size_t count;
  volatile uint64_t generation;
  volatile uint64_t wrong_page, wrong_generation;
  pthread_t thread;
};

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static struct writer writers[4];
static volatile int child_signals;
static volatile int held_descriptors;

static void on_child(int signal) {
  (void)signal;
  child_signals++;
}

static void *write_all(void *argument) {
  struct writer *w = argument;
  for (uint64_t generation = w->generation;; generation++) {
    uint64_t at = 0;
    for (size_t a = 0; a < w->count; a++)
      for (size_t page = 0; page < w->areas[a].pages; page++, at++) {
        volatile uint64_t *word = w->areas[a].words + page * 512;
        if ((word[0] != generation || word[511] != generation) && !w->wrong_generation) {
          /* The thread may have been stopped between both writes, but then it goes on there. */
          w->wrong_page = at;
          w->wrong_generation = generation + 1;
        }
        word[0] = generation + 1;
        word[511] = generation + 1;
      }
    w->generation = generation + 1;
  }
}

/* A pipe is open for a moment. When its only writer has closed it, the reader is told at once. */
static void *open_and_close(void *argument) {
  (void)argument;
  for (;;) {
    int ends[2];
    char byte;
    if (pipe2(ends, O_NONBLOCK) != 0) continue;
    usleep(500);
    close(ends[1]);
    if (read(ends[0], &byte, 1) != 0) held_descriptors++;
    close(ends[0]);
  }
}

static void add_area(struct writer *w, size_t bytes, int flags, int advice) {
  uint8_t *start = MUST_MAP(mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0));
  if (advice >= 0 && madvise(start, bytes, advice) != 0 && errno != EINVAL) st_die(__FILE_NAME__, __LINE__, "madvise");
  w->areas[w->count++] = (struct area){(volatile uint64_t *)start, bytes / ST_PAGE};
}

/* Memory with a guard page in its middle; the other pages are filled. Without guards in this kernel there is none. */
struct guarded {
  uint8_t *start;
  int has_guard;
};

static struct guarded make_guarded(int flags) {
  struct guarded made = {MUST_MAP(mmap(NULL, 3 * ST_PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0)), 0};
  st_fill(made.start, 3 * ST_PAGE, 11);
  made.has_guard = madvise(made.start + ST_PAGE, ST_PAGE, MADV_GUARD_INSTALL) == 0;
  return made;
}

static int can_be_read(const uint8_t *at) {
  int ends[2];
  MUST(pipe(ends));
  int result = write(ends[1], at, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return result;
}

static void check_guarded(const struct guarded *one) {
  if (one->has_guard) CHECK(!can_be_read(one->start + ST_PAGE), "the guard page can be read");
  CHECK(can_be_read(one->start), "the page before the guard cannot be read");
  CHECK(can_be_read(one->start + 2 * ST_PAGE), "the page after the guard cannot be read");
}

static void confine(void) {
  struct sock_filter filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 4, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setsid, 3, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 2, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program));
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  signal(SIGCHLD, on_child);
  add_area(&writers[0], BIG, MAP_PRIVATE, MADV_NOHUGEPAGE);
  add_area(&writers[1], BIG, MAP_PRIVATE, MADV_HUGEPAGE);
  add_area(&writers[2], SMALL, MAP_PRIVATE, -1);
  int is_forkable = argc > 2 && strcmp(argv[2], "forkable") == 0;
  if (!is_forkable) MUST(mlock((void *)writers[2].areas[0].words, SMALL));
  if (!is_forkable) add_area(&writers[3], SMALL, MAP_PRIVATE, MADV_DONTFORK);
  if (!is_forkable) add_area(&writers[3], SMALL, MAP_PRIVATE, MADV_WIPEONFORK);
  add_area(&writers[3], SMALL, MAP_SHARED, -1);
  add_area(&writers[3], SMALL, MAP_PRIVATE, -1);
  uint8_t *hidden = MUST_MAP(mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  st_fill(hidden, SMALL, 7);
  MUST(mprotect(hidden, SMALL, PROT_NONE));
  uint8_t *code = MUST_MAP(mmap(NULL, SMALL, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  st_fill(code, SMALL, 9);
  MUST(mprotect(code, SMALL, PROT_READ | PROT_EXEC));
  struct guarded guarded[] = {make_guarded(MAP_PRIVATE), make_guarded(MAP_SHARED)};
  for (int i = 0; i < 4; i++)
    if (pthread_create(&writers[i].thread, NULL, write_all, &writers[i]) != 0) st_die(__FILE_NAME__, __LINE__, "pthread_create");
  pthread_t closer;
  if (pthread_create(&closer, NULL, open_and_close, NULL) != 0) st_die(__FILE_NAME__, __LINE__, "pthread_create");
  for (int i = 0; i < 4; i++) WAIT_FOR(writers[i].generation > 1);
  if (argc > 2 && strcmp(argv[2], "seccomp") == 0) confine();

  while (st_next()) {
    for (int i = 0; i < 4; i++) {
      uint64_t before = writers[i].generation;
      WAIT_FOR(writers[i].generation > before + 1);
      CHECK(!writers[i].wrong_generation, "thread %d: page %llu was not of generation %llu", i,
            (unsigned long long)writers[i].wrong_page, (unsigned long long)writers[i].wrong_generation - 1);
    }
    CHECK_FILL(code, SMALL, 9);
    for (int i = 0; i < 2; i++) check_guarded(&guarded[i]);
    CHECK_EQ(child_signals, 0);
    CHECK_EQ(held_descriptors, 0);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    CHECK_EQ(errno, ECHILD);
    MUST(mprotect(hidden, SMALL, PROT_READ));
    CHECK_FILL(hidden, SMALL, 7);
    MUST(mprotect(hidden, SMALL, PROT_NONE));
  }
}
