/*
 * Signals: actions with flags and masks, the blocked mask, pending signals of the process and of a thread with their
 * values and order, an alternate stack in use later, handlers that still run.
 */
#include "selftest.h"
#include <pthread.h>

static volatile int handled, handled_value, on_alternate_stack;
static char alternate_stack[65536];

static void on_signal(int signal) { handled = signal; }
static void on_info(int signal, siginfo_t *info, void *context) {
  (void)context;
  char local;
  handled = signal;
  handled_value = info->si_value.sival_int;
  on_alternate_stack = &local >= alternate_stack && &local < alternate_stack + sizeof alternate_stack;
}

struct kernel_action {
  void *handler;
  unsigned long flags;
  void *restorer;
  uint64_t mask;
};

static struct kernel_action before[65];

static void read_actions(struct kernel_action *actions) {
  for (int signal = 1; signal <= 64; signal++)
    if (syscall(SYS_rt_sigaction, signal, NULL, &actions[signal], 8) != 0) memset(&actions[signal], 0, sizeof *actions);
}

static void set_actions(void) {
  static const int flags[] = {0, SA_RESTART, SA_NODEFER, SA_RESETHAND, SA_ONSTACK, SA_NOCLDSTOP, SA_NOCLDWAIT, SA_RESTART | SA_ONSTACK};
  for (int signal = 1; signal <= 64; signal++) {
    if (signal == SIGKILL || signal == SIGSTOP || signal == 32 || signal == 33) continue;
    struct sigaction action = {.sa_flags = flags[signal % 8]};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, signal % 31 + 1);
    if (signal % 5 == 0) action.sa_handler = SIG_IGN;
    else if (signal % 5 == 1) action.sa_handler = SIG_DFL;
    else if (signal % 5 == 2) action.sa_handler = on_signal;
    else action.sa_sigaction = on_info, action.sa_flags |= SA_SIGINFO;
    MUST(sigaction(signal, &action, NULL));
  }
}

static void block(int signal, int how) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(how, &set, NULL);
}

/* Three process-wide signals of one real-time number in order, one ordinary, and two to the thread. */
static void make_pending(int round) {
  for (int i = 0; i < 3; i++) MUST(sigqueue(getpid(), SIGRTMIN + 4, (union sigval){.sival_int = round * 100 + i}));
  MUST(sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = round * 1000}));
  for (int i = 0; i < 2; i++)
    if (pthread_sigqueue(pthread_self(), SIGRTMIN + 5, (union sigval){.sival_int = round * 10 + i}) != 0)
      st_die(__FILE__, __LINE__, "pthread_sigqueue");
}

static void take_one(int signal, int value) {
  sigset_t set;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  sigemptyset(&set);
  sigaddset(&set, signal);
  int got = sigtimedwait(&set, &info, &(struct timespec){0, 0});
  CHECK(got == signal, "signal %d is not pending: %d, %s", signal, got, strerror(errno));
  CHECK(info.si_value.sival_int == value && info.si_code == SI_QUEUE && info.si_pid == getpid(),
        "signal %d: value %d (wanted %d), code %d, pid %d", signal, info.si_value.sival_int, value, info.si_code, info.si_pid);
}

static void take_none(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  CHECK_EQ(sigtimedwait(&set, NULL, &(struct timespec){0, 0}), -1);
}

int main(int argc, char **argv) {
  static struct kernel_action now[65];
  st_init(argc, argv);
  set_actions();
  stack_t stack = {.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack};
  MUST(sigaltstack(&stack, NULL));
  block(SIGRTMIN + 4, SIG_BLOCK), block(SIGRTMIN + 5, SIG_BLOCK), block(SIGUSR2, SIG_BLOCK), block(SIGHUP, SIG_BLOCK);
  read_actions(before);
  make_pending(0);
  for (int round = 0; st_next(); round++) {
    read_actions(now);
    for (int signal = 1; signal <= 64; signal++)
      CHECK(memcmp(&now[signal], &before[signal], sizeof now[signal]) == 0,
            "action of signal %d: handler %p flags %lx mask %lx, was %p %lx %lx", signal, now[signal].handler, now[signal].flags,
            now[signal].mask, before[signal].handler, before[signal].flags, before[signal].mask);
    for (int i = 0; i < 3; i++) take_one(SIGRTMIN + 4, round * 100 + i);
    for (int i = 0; i < 2; i++) take_one(SIGRTMIN + 5, round * 10 + i);
    take_one(SIGUSR2, round * 1000);
    take_none(SIGRTMIN + 4), take_none(SIGRTMIN + 5), take_none(SIGUSR2), take_none(SIGHUP);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK(sigismember(&mask, SIGHUP) == 1 && sigismember(&mask, SIGTERM) == 0, "the mask differs");
    handled = handled_value = on_alternate_stack = 0;
    sigqueue(getpid(), 44, (union sigval){.sival_int = 4711}); /* 44 % 5 == 4: on_info; 44 % 8 == 4: SA_ONSTACK */
    CHECK_EQ(handled, 44);
    CHECK_EQ(handled_value, 4711);
    CHECK_EQ(on_alternate_stack, 1);
    make_pending(round + 1);
  }
}
