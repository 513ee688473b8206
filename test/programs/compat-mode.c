/*
 * A child that executes 32-bit code: it sleeps by the system calls of that mode. The code is made here, since a machine
 * need not have a C library of 32 bits.
 */
#include "selftest.h"

#define USER32_CS 0x23 /* __USER32_CS, arch/x86/include/asm/segment.h */

static void enter_compat_mode(void) {
  unsigned char *page = mmap(NULL, ST_PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (page == MAP_FAILED) _exit(1);
  uint32_t time[] = {0, 3000000}, at = (uint32_t)(uintptr_t)page + 64;
  memcpy(page + 64, time, sizeof time);
  unsigned char code[] = {
      0xb8, 162, 0, 0, 0, /* mov eax, nanosleep */
      0xbb, 0, 0, 0, 0,   /* mov ebx, time */
      0x31, 0xc9,         /* xor ecx, ecx */
      0xcd, 0x80,         /* int 0x80 */
      0xeb, 0xf0,         /* and again */
  };
  memcpy(code + 6, &at, 4);
  memcpy(page, code, sizeof code);
  __asm__ volatile("pushq %0; pushq %1; lretq" : : "i"(USER32_CS), "r"(page) : "memory");
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  pid_t child = MUST(fork());
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not look at the clock */
    enter_compat_mode();
  }
  usleep(50000);
  if (waitpid(child, NULL, WNOHANG) != 0) st_skip("this kernel does not execute 32-bit code");
  while (st_next()) CHECK_EQ(waitpid(child, NULL, WNOHANG), 0);
  kill(child, SIGKILL);
}
