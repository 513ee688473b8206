/*
 * Properties of mappings: every madvise(2) flag that stays with a mapping, mlock and mlock2(ONFAULT), a name given by
 * prctl, NORESERVE, a growing stack. The harness compares VmFlags; here it is what they do and that the content is right.
 */
#include "selftest.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

static const struct {
  int advice;
  const char *name;
} advices[] = {
  {MADV_NORMAL, "NORMAL"},       {MADV_RANDOM, "RANDOM"},         {MADV_SEQUENTIAL, "SEQUENTIAL"},
  {MADV_DONTFORK, "DONTFORK"},   {MADV_MERGEABLE, "MERGEABLE"},   {MADV_HUGEPAGE, "HUGEPAGE"},
  {MADV_NOHUGEPAGE, "NOHUGEPAGE"}, {MADV_DONTDUMP, "DONTDUMP"},   {MADV_WIPEONFORK, "WIPEONFORK"},
};
#define COUNT (sizeof advices / sizeof *advices)
#define BYTES (3 * ST_PAGE)

/* A page without access on both sides keeps neighbours from being merged. */
static uint8_t *map_alone(int flags) {
  uint8_t *start = MUST_MAP(mmap(NULL, BYTES + 2 * ST_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  return MUST_MAP(mmap(start + ST_PAGE, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0));
}

static int has_line(const char *needle) {
  char line[512];
  int found = 0;
  FILE *file = fopen("/proc/self/maps", "r");
  while (file && fgets(line, sizeof line, file)) found |= strstr(line, needle) != NULL;
  if (file) fclose(file);
  return found;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *advised[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    advised[i] = map_alone(0);
    st_fill(advised[i], BYTES, i);
    if (madvise(advised[i], BYTES, advices[i].advice) != 0 && errno != EINVAL) st_die(__FILE__, __LINE__, advices[i].name);
  }
  uint8_t *locked = map_alone(0), *on_fault = map_alone(0), *named = map_alone(0), *no_reserve = map_alone(MAP_NORESERVE);
  st_fill(locked, BYTES, 20);
  MUST(mlock(locked, BYTES));
  st_fill(on_fault, ST_PAGE, 21);
  MUST(syscall(SYS_mlock2, on_fault, BYTES, MLOCK_ONFAULT));
  st_fill(named, BYTES, 22);
  int has_names = prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, named, BYTES, "a name of its own") == 0;
  st_fill(no_reserve, BYTES, 23);

  while (st_next()) {
    for (size_t i = 0; i < COUNT; i++) CHECK_FILL(advised[i], BYTES, i);
    CHECK_FILL(locked, BYTES, 20);
    CHECK_FILL(on_fault, ST_PAGE, 21);
    unsigned char resident[3];
    CHECK_EQ(mincore(on_fault, BYTES, resident), 0);
    CHECK_EQ(resident[2] & 1, 0);
    CHECK_FILL(named, BYTES, 22);
    CHECK_FILL(no_reserve, BYTES, 23);
    if (has_names) CHECK(has_line("[anon:a name of its own]"), "the mapping lost its name");
    pid_t child = fork();
    if (child == 0) {
      unsigned char vector[3];
      int dont_fork_is_there = mincore(advised[3], BYTES, vector) == 0;
      _exit((dont_fork_is_there ? 1 : 0) | (advised[8][0] != 0 ? 2 : 0));
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status), "the forked child died: status %x", status);
    CHECK((WEXITSTATUS(status) & 1) == 0, "memory with MADV_DONTFORK was inherited");
    CHECK((WEXITSTATUS(status) & 2) == 0, "memory with MADV_WIPEONFORK was not wiped");
  }
}
