/* A task that is checkpointed while it runs a handler on its alternate stack; it returns from it after the restore. */
#include "selftest.h"

static char alternate_stack[65536];
static int before_handler = 17;

static void on_signal(int signal) {
  volatile uint64_t local[32];
  for (int i = 0; i < 32; i++) local[i] = (uint64_t)(signal * 100 + i);
  st_next();
  for (int i = 0; i < 32; i++) CHECK_EQ(local[i], signal * 100 + i);
  stack_t stack;
  sigaltstack(NULL, &stack);
  CHECK_EQ(stack.ss_flags, SS_ONSTACK);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack};
  MUST(sigaltstack(&stack, NULL));
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  MUST(sigaction(SIGUSR1, &action, NULL));
  for (;;) {
    raise(SIGUSR1);
    sigaltstack(NULL, &stack);
    CHECK_EQ(stack.ss_flags, 0);
    CHECK_EQ(before_handler, 17);
  }
}
