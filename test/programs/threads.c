/*
 * Many threads, each with properties of its own: tid, name, signal mask, thread-local storage, robust list, rseq area,
 * alternate stack, nice value, scheduling policy, rounding of the FPU. From the hundredth on every second one has name,
 * nice value and policy of the first thread instead. The number of threads is the argument; with a second argument "extra"
 * also CPU affinity and timer slack.
 */
#include "selftest.h"
#include <pthread.h>
#include <stddef.h>
#include <sys/resource.h>

#define MOST 1200

static int count, extra;
static volatile int round_now;
static volatile int checked[MOST];
static pid_t tids[MOST];
static __thread uint64_t local[16];
static int main_done;

static void *stack_of(int index) { return (void *)(0x10000000UL + (unsigned long)index * 65536); }

static char main_name[16];
static int main_nice, main_policy;

static int is_like_main(int index) { return index >= 100 && index % 2; }

static unsigned mxcsr_of(int index) {
  return 0x1f80u | (index % 10 == 4 || index % 10 == 5 ? (unsigned)(index / 10 % 3 + 1) << 13 : 0);
}

static void set_up(int index) {
  char name[16];
  unsigned mxcsr = mxcsr_of(index);
  tids[index] = (pid_t)syscall(SYS_gettid);
  snprintf(name, sizeof name, "thread-%d", index);
  if (!is_like_main(index)) prctl(PR_SET_NAME, name);
  __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGRTMIN + 1 + index % 20);
  if (index % 2) sigaddset(&mask, SIGUSR1);
  pthread_sigmask(SIG_SETMASK, &mask, NULL);
  for (int i = 0; i < 16; i++) local[i] = (uint64_t)index * 1000 + (uint64_t)i;
  if (index % 3 == 0) {
    stack_t stack = {.ss_sp = MUST_MAP(mmap(stack_of(index), 32768, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)),
                     .ss_size = 32768};
    MUST(sigaltstack(&stack, NULL));
  }
  if (extra) prctl(PR_SET_TIMERSLACK, 60000 + index * 10);
  if (!is_like_main(index)) MUST(setpriority(PRIO_PROCESS, (id_t)tids[index], index % 10));
  if (extra && index % 5 == 1) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(0, &cpus);
    MUST(sched_setaffinity(0, sizeof cpus, &cpus));
  }
  if (index % 5 == 2 && !is_like_main(index)) MUST(sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}));
  if (index % 50 == 3 && !is_like_main(index) && sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &(struct sched_param){.sched_priority = 1 + index % 7}) != 0)
    CHECK(errno == EPERM, "SCHED_RR: %s", strerror(errno));
}

extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/* A registered rseq area is kept up to date by the kernel: its cpu_id is the CPU we are on. */
static void check_rseq(int index) {
  if (&__rseq_size == NULL || __rseq_size == 0) return;
  volatile uint32_t *area = (volatile uint32_t *)((char *)__builtin_thread_pointer() + __rseq_offset);
  for (int try = 0; try < 100; try++) {
    unsigned before = (unsigned)sched_getcpu(), registered = area[1], cpu = 0;
    syscall(SYS_getcpu, &cpu, NULL, NULL);
    if (before == cpu && registered == cpu) return;
    sched_yield();
  }
  CHECK(0, "thread %d: rseq is not registered any more (cpu_id %d)", index, (int)area[1]);
}

static void check(int index) {
  char name[16] = "", wanted[16];
  pid_t tid = (pid_t)syscall(SYS_gettid);
  CHECK(tid == tids[index], "thread %d has tid %d, had %d", index, tid, tids[index]);
  prctl(PR_GET_NAME, name);
  snprintf(wanted, sizeof wanted, "thread-%d", index);
  CHECK(strcmp(name, is_like_main(index) ? main_name : wanted) == 0, "thread %d is named %s", index, name);
  unsigned mxcsr;
  __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
  CHECK((mxcsr & ~0x3fu) == mxcsr_of(index), "thread %d: mxcsr is %x", index, mxcsr);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  CHECK(sigismember(&mask, SIGRTMIN + 1 + index % 20) == 1 && sigismember(&mask, SIGUSR1) == index % 2 &&
        sigismember(&mask, SIGUSR2) == 0, "thread %d: the signal mask differs", index);
  for (int i = 0; i < 16; i++) CHECK(local[i] == (uint64_t)index * 1000 + (uint64_t)i, "thread %d: thread-local storage differs", index);
  stack_t stack;
  sigaltstack(NULL, &stack);
  if (index % 3 == 0) CHECK(stack.ss_sp == stack_of(index) && stack.ss_size == 32768 && stack.ss_flags == 0,
                            "thread %d: alternate stack %p %zu %d", index, stack.ss_sp, stack.ss_size, stack.ss_flags);
  else CHECK(stack.ss_flags == SS_DISABLE, "thread %d got an alternate stack", index);
  /* The kernel has no slack for real-time threads. */
  if (extra && index % 50 != 3) CHECK_EQ(prctl(PR_GET_TIMERSLACK), 60000 + index * 10);
  errno = 0;
  CHECK_EQ(getpriority(PRIO_PROCESS, (id_t)tid), is_like_main(index) ? main_nice : index % 10);
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  sched_getaffinity(0, sizeof cpus, &cpus);
  if (extra && index % 5 == 1) CHECK(CPU_COUNT(&cpus) == 1 && CPU_ISSET(0, &cpus), "thread %d: the affinity was lost", index);
  if (is_like_main(index)) CHECK_EQ(sched_getscheduler(0), main_policy);
  else if (index % 5 == 2) CHECK_EQ(sched_getscheduler(0), SCHED_BATCH);
  void *head = NULL;
  size_t bytes = 0;
  CHECK_EQ(syscall(SYS_get_robust_list, 0, &head, &bytes), 0);
  CHECK(head != NULL && bytes == 3 * sizeof(long), "thread %d: no robust list", index);
  check_rseq(index);
}

/* Nothing is left of what only this thread computed: most threads of a program have the same FPU state. */
static void forget_vectors(void) {
  if (__builtin_cpu_supports("avx")) __asm__ volatile("vzeroall");
}

static void *run(void *argument) {
  int index = (int)(intptr_t)argument, round = 0;
  set_up(index);
  checked[index] = -1;
  for (;;) {
    while (round_now == round) {
      forget_vectors();
      usleep(20000);
    }
    round = round_now;
    check(index);
    checked[index] = round;
  }
  return NULL;
}

/* A robust mutex whose owner died must be given to the next with EOWNERDEAD: the kernel walks the robust list. */
static pthread_mutex_t robust;
static void *lock_and_die(void *unused) {
  (void)unused;
  pthread_mutex_lock(&robust);
  while (!main_done) usleep(5000);
  return NULL;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  count = argc > 2 ? atoi(argv[2]) : 20;
  extra = argc > 3;
  prctl(PR_GET_NAME, main_name);
  MUST(setpriority(PRIO_PROCESS, 0, 3));
  main_nice = getpriority(PRIO_PROCESS, 0);
  main_policy = sched_getscheduler(0);
  if (count > MOST) return 1;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  for (int i = 0; i < count; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, run, (void *)(intptr_t)i) != 0) st_die(__FILE__, __LINE__, "pthread_create");
  }
  pthread_mutexattr_t robust_attributes;
  pthread_mutexattr_init(&robust_attributes);
  pthread_mutexattr_setrobust(&robust_attributes, PTHREAD_MUTEX_ROBUST);
  for (int i = 0; i < count; i++) WAIT_FOR(checked[i] == -1);
  for (int round = 1;; round++) {
    pthread_t owner;
    main_done = 0;
    pthread_mutex_init(&robust, &robust_attributes);
    pthread_create(&owner, &attributes, lock_and_die, NULL);
    while (pthread_mutex_trylock(&robust) == 0) {
      pthread_mutex_unlock(&robust);
      usleep(1000);
    }
    st_next();
    round_now = round;
    for (int i = 0; i < count; i++) WAIT_FOR(checked[i] == round);
    main_done = 1;
    pthread_join(owner, NULL);
    CHECK_EQ(pthread_mutex_lock(&robust), EOWNERDEAD);
    pthread_mutex_consistent(&robust);
    pthread_mutex_unlock(&robust);
  }
}
