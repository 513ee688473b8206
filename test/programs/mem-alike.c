/*
 * Forked workers with the same mappings, as maps says, some of which have given other advice or locked a range: what one
 * of them has must not become that of another. Each looks at the VmFlags of its own range.
 */
#include "selftest.h"

#define BYTES (12UL << 20)
#define WORKERS 24

static char *flags_of(void *start) {
  static char line[512];
  char wanted[64], *found = "";
  int inside = 0;
  FILE *file = fopen("/proc/self/smaps", "r");
  snprintf(wanted, sizeof wanted, "%lx-", (unsigned long)start);
  while (file && fgets(line, sizeof line, file)) {
    if (strncmp(line, wanted, strlen(wanted)) == 0) inside = 1;
    if (inside && strncmp(line, "VmFlags:", 8) == 0) {
      found = line;
      break;
    }
  }
  if (file) fclose(file);
  return found;
}

static void be_different(uint8_t *memory, int worker) {
  switch (worker % 6) {
    case 1: MUST(madvise(memory, BYTES, MADV_DONTDUMP)); break;
    case 2: MUST(madvise(memory, BYTES, MADV_DONTFORK)); break;
    case 3: MUST(mlock(memory, BYTES)); break;
    case 4: MUST(madvise(memory, BYTES, MADV_RANDOM)); break;
    case 5: memory[5 * ST_PAGE] = worker; break;
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint8_t *memory = MUST_MAP(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(madvise(memory, BYTES, MADV_NOHUGEPAGE));
  st_fill(memory, BYTES, 1);
  char own[512] = "";
  int worker = 0;
  for (int i = 1; i <= WORKERS; i++) {
    char name[16];
    snprintf(name, sizeof name, "worker%d", i);
    if (MUST(fork()) == 0) {
      st_child(name);
      worker = i;
      be_different(memory, worker);
      break;
    }
    st_wait_child(name);
  }
  snprintf(own, sizeof own, "%s", flags_of(memory));
  while (st_next()) {
    char *now = flags_of(memory);
    CHECK(strlen(own) > 10 && strcmp(own, now) == 0, "flags of worker %d were %s, are %s", worker, own, now);
    if (worker % 6 == 5) CHECK_EQ(memory[5 * ST_PAGE], worker);
    else CHECK_FILL(memory, BYTES, 1);
  }
}
