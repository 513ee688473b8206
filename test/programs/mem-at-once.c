/*
 * Memory that is checked all the time, while threads write to it, give it up, move it, unmap it and fork: for restores
 * that let a program run before its memory is there. Nothing waits for a round. The first wrong page leaves the file
 * "corrupt" at once, since who finds it may be killed in the next moment.
 */
#include "selftest.h"

#include <pthread.h>

#define MIB (1UL << 20)
#define STEADY_BYTES (128 * MIB / part)
#define WRITTEN_BYTES (64 * MIB / part)
#define GIVEN_UP_BYTES (32 * MIB / part)
#define MOVED_BYTES (16 * MIB / part)
#define UNMAPPED_BYTES (16 * MIB / part)
#define PIECE (256UL << 10)

/* Of the memory there is only so much: the whole, or a quarter. */
static size_t part = 1;
static char corrupt_path[PATH_MAX + 16], calm_path[PATH_MAX + 16];
static uint64_t *steady, *written;
static volatile unsigned long turns[6];

/* What every word of a page is. */
static uint64_t word_of(uint64_t seed, size_t page) { return (seed + 1) * 0x9E3779B97F4A7C15ULL ^ (page * 0xD1B54A32D192ED03ULL); }

static void corrupt(const char *what, size_t page, uint64_t got, uint64_t wanted) {
  int fd = open(corrupt_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
  dprintf(fd, "%s: page %zu: got %llx, wanted %llx\n", what, page, (unsigned long long)got, (unsigned long long)wanted);
  close(fd);
}

static void fill_page(uint64_t *at, uint64_t word) {
  for (size_t i = 0; i < ST_PAGE / 8; i++) at[i] = word;
}

/* First, middle and last word; all words now and then. */
static void check_page(const char *what, const uint64_t *at, size_t page, uint64_t wanted) {
  size_t step = page % 64 == 0 ? 1 : 255;
  for (size_t i = 0; i < ST_PAGE / 8; i += step) {
    uint64_t got = ((volatile const uint64_t *)at)[i];
    if (got != wanted) return corrupt(what, page, got, wanted);
  }
}

static uint64_t *page_at(uint64_t *area, size_t page) { return area + page * (ST_PAGE / 8); }

static void *map(void *at, size_t bytes, int flags) {
  return MUST_MAP(mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0));
}

/* A start that differs from time to time: faults come from anywhere. */
static size_t scatter(size_t turn, size_t pages) { return (turn * 7919) % pages; }

static void *check_steady(void *unused) {
  size_t pages = STEADY_BYTES / ST_PAGE;
  for (size_t turn = 1;; turn++) {
    for (size_t i = 0; i < pages; i++) {
      size_t page = (i * 4099 + scatter(turn, pages)) % pages;
      check_page("steady", page_at(steady, page), page, word_of(1, page));
      if (i % 1024 == 0) turns[0]++;
    }
    usleep(1000);
  }
  return unused;
}

static void *write_all(void *unused) {
  size_t pages = WRITTEN_BYTES / ST_PAGE;
  for (uint64_t seed = 2;; seed++) {
    for (size_t page = 0; page < pages; page++) {
      check_page("written", page_at(written, page), page, word_of(seed - 1, page));
      fill_page(page_at(written, page), word_of(seed, page));
      if (page % 256 == 0) turns[1]++;
    }
    usleep(1000);
  }
  return unused;
}

static void *give_up(void *unused) {
  size_t pieces = GIVEN_UP_BYTES / PIECE, pages = PIECE / ST_PAGE;
  uint64_t *area = map(NULL, GIVEN_UP_BYTES, 0);
  for (size_t page = 0; page < pieces * pages; page++) fill_page(page_at(area, page), word_of(3, page));
  for (size_t turn = 1;; turn++) {
    size_t piece = scatter(turn, pieces);
    uint64_t *at = page_at(area, piece * pages);
    int how = turn % 3;
    /* Sometimes without a look at it, so that what is given up has not come yet. */
    for (size_t i = 0; how > 0 && i < pages; i++) check_page("given up", page_at(at, i), i, word_of(3, piece * pages + i));
    MUST(madvise(at, PIECE, MADV_DONTNEED));
    for (size_t i = 0; i < pages; i++) check_page("zero again", page_at(at, i), i, 0);
    for (size_t i = 0; i < pages; i++) fill_page(page_at(at, i), word_of(3, piece * pages + i));
    turns[2]++;
    usleep(500);
  }
  return unused;
}

static void *move_around(void *unused) {
  size_t pieces = MOVED_BYTES / PIECE, pages = PIECE / ST_PAGE;
  char *homes[2] = {map(NULL, MOVED_BYTES, 0), map(NULL, MOVED_BYTES, 0)};
  unsigned char where[16 * MIB / PIECE] = {0};
  for (size_t page = 0; page < pieces * pages; page++)
    fill_page(page_at((uint64_t *)homes[0], page), word_of(4, page));
  for (size_t turn = 1;; turn++) {
    size_t piece = scatter(turn, pieces);
    char *from = homes[where[piece]] + piece * PIECE, *to = homes[!where[piece]] + piece * PIECE;
    if (turn % 2)
      for (size_t i = 0; i < pages; i += 2)
        check_page("to be moved", page_at((uint64_t *)from, i), i, word_of(4, piece * pages + i));
    MUST_MAP(mremap(from, PIECE, PIECE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
    map(from, PIECE, MAP_FIXED_NOREPLACE);
    where[piece] = !where[piece];
    if (turn % 3)
      for (size_t i = 0; i < pages; i++) check_page("moved", page_at((uint64_t *)to, i), i, word_of(4, piece * pages + i));
    check_page("place it left", (uint64_t *)from, 0, 0);
    turns[3]++;
    usleep(500);
  }
  return unused;
}

static void *unmap(void *unused) {
  size_t pieces = UNMAPPED_BYTES / PIECE, pages = PIECE / ST_PAGE;
  char *area = map(NULL, UNMAPPED_BYTES, 0);
  for (size_t page = 0; page < pieces * pages; page++) fill_page(page_at((uint64_t *)area, page), word_of(5, page));
  for (size_t turn = 1;; turn++) {
    size_t piece = scatter(turn, pieces);
    uint64_t *at = (uint64_t *)(area + piece * PIECE);
    /* A part of it is protected differently for a while, which splits the mapping. */
    MUST(mprotect(at, PIECE / 2, PROT_READ));
    for (size_t i = 0; turn % 2 && i < pages; i += 3)
      check_page("to be unmapped", page_at(at, i), i, word_of(5, piece * pages + i));
    MUST(munmap(at, PIECE));
    map(at, PIECE, MAP_FIXED_NOREPLACE);
    for (size_t i = 0; i < pages; i += 5) check_page("new", page_at(at, i), i, 0);
    for (size_t i = 0; i < pages; i++) fill_page(page_at(at, i), word_of(5, piece * pages + i));
    turns[4]++;
    usleep(500);
  }
  return unused;
}

/* Children see what they inherited, and then that nobody else's writes come to them. */
static void be_child(size_t turn) {
  size_t pages = STEADY_BYTES / ST_PAGE;
  for (size_t i = 0; i < 400; i++) {
    size_t page = (scatter(turn, pages) + i * 977) % pages;
    check_page("steady, in a child", page_at(steady, page), page, word_of(1, page));
    fill_page(page_at(steady, page), word_of(9, page));
    check_page("written by a child", page_at(steady, page), page, word_of(9, page));
  }
  _exit(0);
}

static void say_calm(void) {
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s.is-calm", st_status);
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd >= 0) close(fd);
}

static void *fork_children(void *unused) {
  for (size_t turn = 1;; turn++) {
    /* Children that are there when it is dumped would share the memory, and then it comes before anybody runs. */
    while (access(calm_path, F_OK) == 0) {
      say_calm();
      usleep(1000);
    }
    pid_t pid = fork();
    if (pid == 0) be_child(turn);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) corrupt("child", turn, (uint64_t)status, 0);
    turns[5]++;
    usleep(5000);
  }
  return unused;
}

/* With "two" there is a child that does the same, in memory of its own, and both have less. */
int main(int argc, char **argv) {
  st_init(argc, argv);
  snprintf(calm_path, sizeof calm_path, "%s.calm", argv[1]);
  snprintf(corrupt_path, sizeof corrupt_path, "%s.corrupt", argv[1]);
  int isTwo = argc > 2 && strcmp(argv[2], "two") == 0;
  if (isTwo) part = 4;
  if (isTwo && MUST(fork()) == 0) {
    st_child("second");
    /* So that none of its mappings is where the parent has a like one: a restore would let it inherit that. */
    MUST_MAP(mmap(NULL, 3 * ST_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  } else if (isTwo) st_wait_child("second");
  steady = map(NULL, STEADY_BYTES, 0);
  for (size_t page = 0; page < STEADY_BYTES / ST_PAGE; page++) fill_page(page_at(steady, page), word_of(1, page));
  written = map(NULL, WRITTEN_BYTES, 0);
  for (size_t page = 0; page < WRITTEN_BYTES / ST_PAGE; page++) fill_page(page_at(written, page), word_of(1, page));
  void *(*work[])(void *) = {check_steady, write_all, give_up, move_around, unmap, fork_children};
  for (size_t i = 0; i < sizeof work / sizeof *work; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work[i], NULL) != 0) st_die(__FILE_NAME__, __LINE__, "pthread_create");
  }
  for (size_t i = 0; i < 6; i++) WAIT_FOR(turns[i] > 2);
  while (st_next()) {
    unsigned long before[6];
    for (size_t i = 0; i < 6; i++) before[i] = turns[i];
    for (size_t i = 0; i < 6; i++) WAIT_FOR(turns[i] > before[i] + 2);
    CHECK(access(corrupt_path, F_OK) != 0, "memory is corrupt, see %s", corrupt_path);
  }
}
