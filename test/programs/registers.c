/*
 * Registers that hold a pattern over the checkpoint: a thread loads them, spins on a flag in assembly (no call, no
 * spill), and stores them when the flag is set after the restore. The set of registers is the argument.
 */
#include "selftest.h"
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <asm/prctl.h>

static volatile int stop;
static volatile int spinning;
static const char *kind;
static uint64_t wanted[512] __attribute__((aligned(64)));
static uint64_t got[512] __attribute__((aligned(64)));
static size_t words;

/* ---- general registers: all but rsp; rax points at the flag and is checked too */
static void spin_gpr(void) {
  words = 15;
  wanted[0] = (uint64_t)(uintptr_t)&stop;
  __asm__ volatile(
    "push %%rbp\n push %%rbx\n"
    "mov %[wanted], %%r15\n"
    "mov 8(%%r15), %%rbx\n mov 16(%%r15), %%rcx\n mov 24(%%r15), %%rdx\n mov 32(%%r15), %%rsi\n mov 40(%%r15), %%rdi\n"
    "mov 48(%%r15), %%rbp\n mov 56(%%r15), %%r8\n mov 64(%%r15), %%r9\n mov 72(%%r15), %%r10\n mov 80(%%r15), %%r11\n"
    "mov 88(%%r15), %%r12\n mov 96(%%r15), %%r13\n mov 104(%%r15), %%r14\n"
    "mov 0(%%r15), %%rax\n mov 112(%%r15), %%r15\n"
    "movl $1, spinning(%%rip)\n"
    "1: cmpl $0, (%%rax)\n je 1b\n"
    "mov %%rax, got(%%rip)\n mov %%rbx, 8+got(%%rip)\n mov %%rcx, 16+got(%%rip)\n mov %%rdx, 24+got(%%rip)\n"
    "mov %%rsi, 32+got(%%rip)\n mov %%rdi, 40+got(%%rip)\n mov %%rbp, 48+got(%%rip)\n mov %%r8, 56+got(%%rip)\n"
    "mov %%r9, 64+got(%%rip)\n mov %%r10, 72+got(%%rip)\n mov %%r11, 80+got(%%rip)\n mov %%r12, 88+got(%%rip)\n"
    "mov %%r13, 96+got(%%rip)\n mov %%r14, 104+got(%%rip)\n mov %%r15, 112+got(%%rip)\n"
    "pop %%rbx\n pop %%rbp\n"
    : : [wanted] "r"(wanted)
    : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
}

#define SPIN "movl $1, spinning(%%rip)\n1: cmpl $0, stop(%%rip)\n je 1b\n"
#define ALL16(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11) M(12) M(13) M(14) M(15)
#define UPPER16(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23) M(24) M(25) M(26) M(27) M(28) M(29) M(30) M(31)

static void spin_sse(void) {
  words = 32;
#define LOAD(n) "movdqu " #n "*16(%[wanted]), %%xmm" #n "\n"
#define STORE(n) "movdqu %%xmm" #n ", " #n "*16(%[got])\n"
  __asm__ volatile(ALL16(LOAD) SPIN ALL16(STORE) : : [wanted] "r"(wanted), [got] "r"(got) : "memory", "cc", "xmm0");
#undef LOAD
#undef STORE
}

__attribute__((target("avx"))) static void spin_avx(void) {
  words = 64;
#define LOAD(n) "vmovdqu " #n "*32(%[wanted]), %%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%[got])\n"
  __asm__ volatile(ALL16(LOAD) SPIN ALL16(STORE) "vzeroupper\n" : : [wanted] "r"(wanted), [got] "r"(got) : "memory", "cc");
#undef LOAD
#undef STORE
}

__attribute__((target("avx512f,avx512bw"))) static void spin_avx512(void) {
  words = 32 * 8 + 7;
#define LOAD(n) "vmovdqu64 " #n "*64(%[wanted]), %%zmm" #n "\n"
#define STORE(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%[got])\n"
#define LOADK(n) "kmovq 2048+(" #n "-1)*8(%[wanted]), %%k" #n "\n"
#define STOREK(n) "kmovq %%k" #n ", 2048+(" #n "-1)*8(%[got])\n"
#define ALL7(M) M(1) M(2) M(3) M(4) M(5) M(6) M(7)
  __asm__ volatile(ALL16(LOAD) UPPER16(LOAD) ALL7(LOADK) SPIN ALL16(STORE) UPPER16(STORE) ALL7(STOREK) "vzeroupper\n"
                   : : [wanted] "r"(wanted), [got] "r"(got) : "memory", "cc");
#undef LOAD
#undef STORE
}

/* ---- x87: eight values on the stack and a control word; MXCSR with another rounding and flags that were raised */
static void spin_x87(void) {
  words = 9;
  uint16_t control = 0x0c7f, control_after = 0;
  uint32_t mxcsr = 0x7fa5, mxcsr_after = 0, mxcsr_default = 0x1f80;
  for (uint64_t i = 0; i < 8; i++) wanted[i] = 1000 + i * 77;
  wanted[8] = (uint64_t)control << 32 | mxcsr;
  __asm__ volatile(
    "fninit\n fldcw %[control]\n"
    "fildll 56(%[wanted])\n fildll 48(%[wanted])\n fildll 40(%[wanted])\n fildll 32(%[wanted])\n"
    "fildll 24(%[wanted])\n fildll 16(%[wanted])\n fildll 8(%[wanted])\n fildll 0(%[wanted])\n"
    "ldmxcsr %[mxcsr]\n" SPIN
    "fnstcw %[control_after]\n stmxcsr %[mxcsr_after]\n"
    "fistpll 0(%[got])\n fistpll 8(%[got])\n fistpll 16(%[got])\n fistpll 24(%[got])\n"
    "fistpll 32(%[got])\n fistpll 40(%[got])\n fistpll 48(%[got])\n fistpll 56(%[got])\n"
    "ldmxcsr %[mxcsr_default]\n fninit\n"
    : [control_after] "+m"(control_after), [mxcsr_after] "+m"(mxcsr_after)
    : [control] "m"(control), [mxcsr] "m"(mxcsr), [mxcsr_default] "m"(mxcsr_default), [wanted] "r"(wanted), [got] "r"(got)
    : "memory", "cc");
  got[8] = (uint64_t)control_after << 32 | mxcsr_after;
}

/* ---- gs base (free for the program) and fs base (the C library's): the values, and that they work */
static void spin_bases(void) {
  static uint64_t block[4] = {0x1111, 0x2222, 0x3333, 0x4444};
  words = 3;
  syscall(SYS_arch_prctl, ARCH_SET_GS, block);
  wanted[0] = (uint64_t)(uintptr_t)block;
  syscall(SYS_arch_prctl, ARCH_GET_FS, &wanted[1]);
  wanted[2] = 0x3333;
  __asm__ volatile(SPIN "mov %%gs:16, %%rax\n mov %%rax, 16+got(%%rip)\n" : : : "rax", "memory", "cc");
  syscall(SYS_arch_prctl, ARCH_GET_GS, &got[0]);
  syscall(SYS_arch_prctl, ARCH_GET_FS, &got[1]);
}

/* ---- flags: direction, carry, overflow, and alignment check are the program's own */
static void spin_flags(void) {
  words = 1;
  wanted[0] = 0x40400; /* AC and DF */
  __asm__ volatile(
    "pushfq\n orq $0x40400, (%%rsp)\n popfq\n"
    "movl $1, spinning(%%rip)\n"
    "1: movl stop(%%rip), %%eax\n testl %%eax, %%eax\n jz 1b\n"
    "pushfq\n popq %%rax\n cld\n pushfq\n andq $~0x40400, (%%rsp)\n popfq\n"
    "andq $0x40400, %%rax\n mov %%rax, got(%%rip)\n"
    : : : "rax", "memory", "cc");
}

/* ---- AMX: tile configuration and one tile of data; the kernel asks for permission first */
static void spin_amx(void) {
  static struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t columns[16];
    uint8_t rows[16];
  } config __attribute__((aligned(64))) = {.palette = 1, .columns = {64}, .rows = {16}};
  words = 128;
  uint64_t stride = 64;
  __asm__ volatile(
    ".byte 0xc4,0xe2,0x78,0x49,0x00\n" /* ldtilecfg (rax) */
    ".byte 0xc4,0xe2,0x7b,0x4b,0x04,0x0e\n" /* tileloadd tmm0, [rsi+rcx] */
    "movl $1, spinning(%%rip)\n1: cmpl $0, stop(%%rip)\n je 1b\n"
    ".byte 0xc4,0xe2,0x7a,0x4b,0x04,0x0f\n" /* tilestored [rdi+rcx], tmm0 */
    ".byte 0xc4,0xe2,0x78,0x49,0xc0\n" /* tilerelease */
    : : "a"(&config), "S"(wanted), "D"(got), "c"(stride) : "memory", "cc");
}

static int has_amx(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & (1u << 24))) return 0;
  return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18) == 0;
}

static const struct {
  const char *name;
  void (*spin)(void);
} kinds[] = {
  {"gpr", spin_gpr},   {"sse", spin_sse},     {"avx", spin_avx},     {"avx512", spin_avx512},
  {"x87", spin_x87},   {"bases", spin_bases}, {"flags", spin_flags}, {"amx", spin_amx},
};

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
  if (strcmp(kind, "avx512") == 0 && !__builtin_cpu_supports("avx512bw")) st_skip("the CPU has no AVX-512");
  if (strcmp(kind, "amx") == 0 && !has_amx()) st_skip("the CPU has no AMX, or the kernel doesn't permit it");
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
      CHECK(got[i] == wanted[i], "%s, word %zu: got %lx, wanted %lx", kind, i, got[i], wanted[i]);
  }
}
