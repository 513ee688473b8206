/* A static program that counts: the count goes on where it was, in data, bss, heap and stack at once. */
/* flags: -static */
#include "selftest.h"

static volatile uint64_t in_data = 1000;
static volatile uint64_t in_bss;

int main(int argc, char **argv) {
  st_init(argc, argv);
  volatile uint64_t on_stack = 7;
  uint64_t *on_heap = malloc(sizeof *on_heap);
  *on_heap = 77;
  pid_t pid = getpid();
  for (uint64_t round = 0; st_next(); round++) {
    CHECK_EQ(in_data, 1000 + round);
    CHECK_EQ(in_bss, round);
    CHECK_EQ(on_stack, 7 + round);
    CHECK_EQ(*on_heap, 77 + round);
    CHECK_EQ(getpid(), pid);
    CHECK_EQ(syscall(SYS_gettid), pid);
    in_data++;
    in_bss++;
    on_stack++;
    ++*on_heap;
  }
}
