/*
 * Registers of 32-bit code that hold a pattern over the checkpoint, as registers.c does it for 64 bits. To be built with
 * -m32. The set of registers is the argument.
 */
/* flags: -fno-pie -no-pie */
#include "selftest.h"
#include <asm/ldt.h>
#include <pthread.h>

static volatile int stop;
static volatile int spinning;
static const char *kind;
static uint32_t wanted[64] __attribute__((aligned(64)));
static uint32_t got[64] __attribute__((aligned(64)));
static size_t words;

#define SPIN "movl $1, spinning\n1: cmpl $0, stop\n je 1b\n"
#define ALL8(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7)

/* ---- general registers: all but esp; eax points at the flag and is checked too */
static void spin_gpr(void) {
  words = 7;
  wanted[0] = (uint32_t)(uintptr_t)&stop;
  __asm__ volatile(
    "push %%ebp\n push %%ebx\n"
    "mov wanted, %%eax\n mov 4+wanted, %%ebx\n mov 8+wanted, %%ecx\n mov 12+wanted, %%edx\n"
    "mov 16+wanted, %%esi\n mov 20+wanted, %%edi\n mov 24+wanted, %%ebp\n"
    "movl $1, spinning\n"
    "1: cmpl $0, (%%eax)\n je 1b\n"
    "mov %%eax, got\n mov %%ebx, 4+got\n mov %%ecx, 8+got\n mov %%edx, 12+got\n"
    "mov %%esi, 16+got\n mov %%edi, 20+got\n mov %%ebp, 24+got\n"
    "pop %%ebx\n pop %%ebp\n"
    : : : "eax", "ecx", "edx", "esi", "edi", "memory", "cc");
}

static void spin_sse(void) {
  words = 32;
#define LOAD(n) "movdqu " #n "*16+wanted, %%xmm" #n "\n"
#define STORE(n) "movdqu %%xmm" #n ", " #n "*16+got\n"
  __asm__ volatile(ALL8(LOAD) SPIN ALL8(STORE) : : : "memory", "cc");
#undef LOAD
#undef STORE
}

__attribute__((target("avx"))) static void spin_avx(void) {
  words = 64;
#define LOAD(n) "vmovdqu " #n "*32+wanted, %%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32+got\n"
  __asm__ volatile(ALL8(LOAD) SPIN ALL8(STORE) "vzeroupper\n" : : : "memory", "cc");
#undef LOAD
#undef STORE
}

/* ---- x87: eight values on the stack and a control word; MXCSR with another rounding and flags that were raised */
static void spin_x87(void) {
  words = 18;
  uint16_t control = 0x0c7f, control_after = 0;
  uint32_t mxcsr = 0x7fa5, mxcsr_after = 0, mxcsr_default = 0x1f80;
  for (uint32_t i = 0; i < 8; i++) wanted[2 * i] = 1000 + i * 77, wanted[2 * i + 1] = 0;
  wanted[16] = control, wanted[17] = mxcsr;
  __asm__ volatile(
    "fninit\n fldcw %[control]\n"
    "fildll 56+wanted\n fildll 48+wanted\n fildll 40+wanted\n fildll 32+wanted\n"
    "fildll 24+wanted\n fildll 16+wanted\n fildll 8+wanted\n fildll wanted\n"
    "ldmxcsr %[mxcsr]\n" SPIN
    "fnstcw %[control_after]\n stmxcsr %[mxcsr_after]\n"
    "fistpll got\n fistpll 8+got\n fistpll 16+got\n fistpll 24+got\n"
    "fistpll 32+got\n fistpll 40+got\n fistpll 48+got\n fistpll 56+got\n"
    "ldmxcsr %[mxcsr_default]\n fninit\n"
    : [control_after] "+m"(control_after), [mxcsr_after] "+m"(mxcsr_after)
    : [control] "m"(control), [mxcsr] "m"(mxcsr), [mxcsr_default] "m"(mxcsr_default)
    : "memory", "cc");
  got[16] = control_after, got[17] = mxcsr_after;
}

static uint32_t area(unsigned entry, uint32_t *limit) {
  struct user_desc segment = {.entry_number = entry};
  if (syscall(SYS_get_thread_area, &segment) != 0) return 0;
  *limit = segment.limit;
  return segment.base_addr;
}

/* ---- segments: gs leads to the C library's thread-local data, fs to a block of the program's own */
static void spin_segments(void) {
  static uint32_t block[4] = {0x1111, 0x2222, 0x3333, 0x4444};
  struct user_desc segment = {.entry_number = -1u, .base_addr = (uint32_t)(uintptr_t)block, .limit = sizeof block - 1,
                              .seg_32bit = 1, .useable = 1};
  unsigned gs = 0, fs = 0;
  words = 7;
  if (syscall(SYS_set_thread_area, &segment) != 0) st_die(__FILE__, __LINE__, "set_thread_area");
  __asm__ volatile("mov %%gs, %0" : "=r"(gs));
  fs = segment.entry_number << 3 | 3;
  wanted[0] = fs, wanted[1] = gs, wanted[2] = 0x3333;
  wanted[3] = (uint32_t)(uintptr_t)block, wanted[4] = sizeof block - 1;
  wanted[5] = area(gs >> 3, &wanted[6]);
  __asm__ volatile("mov %0, %%fs\n" SPIN "mov %%fs:8, %%eax\n mov %%eax, 8+got\n" : : "r"(fs) : "eax", "memory", "cc");
  __asm__ volatile("mov %%fs, %0\n mov %%gs, %1" : "=r"(got[0]), "=r"(got[1]));
  got[3] = area(segment.entry_number, &got[4]);
  got[5] = area(gs >> 3, &got[6]);
  __asm__ volatile("mov %0, %%fs" : : "r"(0));
}

/* ---- flags: direction and alignment check are the program's own */
static void spin_flags(void) {
  words = 1;
  wanted[0] = 0x40400; /* AC and DF */
  __asm__ volatile(
    "pushf\n orl $0x40400, (%%esp)\n popf\n"
    "movl $1, spinning\n"
    "1: movl stop, %%eax\n testl %%eax, %%eax\n jz 1b\n"
    "pushf\n pop %%eax\n cld\n pushf\n andl $~0x40400, (%%esp)\n popf\n"
    "andl $0x40400, %%eax\n mov %%eax, got\n"
    : : : "eax", "memory", "cc");
}

static const struct {
  const char *name;
  void (*spin)(void);
} kinds[] = {{"gpr", spin_gpr}, {"sse", spin_sse},           {"avx", spin_avx},
             {"x87", spin_x87}, {"segments", spin_segments}, {"flags", spin_flags}};

static void *spin(void *unused) {
  (void)unused;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kind, kinds[i].name) == 0) kinds[i].spin();
  return NULL;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  kind = argc > 2 ? argv[2] : "gpr";
  __builtin_cpu_init();
  if (strcmp(kind, "avx") == 0 && !__builtin_cpu_supports("avx")) st_skip("the CPU has no AVX");
  for (uint64_t round = 0;; round++) {
    pthread_t thread;
    stop = spinning = 0;
    st_fill(wanted, sizeof wanted, round + 1);
    memset(got, 0, sizeof got);
    if (pthread_create(&thread, NULL, spin, NULL) != 0) st_die(__FILE__, __LINE__, "pthread_create");
    while (!spinning) usleep(1000);
    st_next();
    stop = 1;
    pthread_join(thread, NULL);
    for (size_t i = 0; i < words; i++)
      CHECK(got[i] == wanted[i], "%s, word %zu: got %x, wanted %x", kind, i, got[i], wanted[i]);
  }
}
