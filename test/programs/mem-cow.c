/*
 * Parent and child have the same private pages, copied only when one writes (copy-on-write). After a restore they
 * must still share them, else a tree of forked workers needs many times its memory. Each process looks at its own Pss.
 * With an argument there are so many MiB of them instead of 8; with a second one they are huge pages, if there are any.
 */
#include "selftest.h"

static size_t bytes = 8UL << 20;
#define CHILDREN 3

static long smaps_kilobytes(void *start, const char *field) {
  char line[512], wanted[64];
  long value = -1;
  int inside = 0;
  FILE *file = fopen("/proc/self/smaps", "r");
  snprintf(wanted, sizeof wanted, "%lx-", (unsigned long)start);
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, wanted, strlen(wanted)) == 0) inside = 1;
    size_t length = strlen(field);
    if (inside && strncmp(line, field, length) == 0 && line[length] == ':') {
      value = atol(line + length + 1);
      break;
    }
  }
  if (file) fclose(file);
  return value;
}

static void check_shared(uint8_t *memory) {
  long rss = smaps_kilobytes(memory, "Rss"), pss = smaps_kilobytes(memory, "Pss");
  CHECK_EQ(rss, bytes / 1024);
  CHECK(pss * 2 < rss, "pages are no longer shared: Rss %ld kB, Pss %ld kB", rss, pss);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  if (argc > 2) bytes = strtoul(argv[2], NULL, 10) << 20;
  uint8_t *memory = MUST_MAP(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  madvise(memory, bytes, argc > 3 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  st_fill(memory, bytes, 1);
  for (int i = 0; i < CHILDREN; i++) {
    char name[16];
    snprintf(name, sizeof name, "child%d", i);
    if (MUST(fork()) == 0) {
      st_child(name);
      st_fill(memory + i * ST_PAGE, ST_PAGE, 50 + i);
      while (st_next()) {
        check_shared(memory);
        CHECK_FILL(memory + i * ST_PAGE, ST_PAGE, 50 + i);
        CHECK(memory[7 * ST_PAGE] == ((uint8_t)(2 * 0x9E3779B97F4A7C15ULL ^ (7 * 512 * 0xD1B54A32D192ED03ULL))), "page 7 differs");
      }
    }
    st_wait_child(name);
  }
  while (st_next()) {
    check_shared(memory);
    CHECK_FILL(memory, bytes, 1);
  }
}
