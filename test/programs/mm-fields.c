/*
 * What belongs to the address space: /proc/self/exe, cmdline, environ, auxv and the vdso. The program changes its
 * command line in place (as daemons do) and reads its clock through the vdso.
 */
#include "selftest.h"
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

static size_t read_proc(const char *name, char *buffer, size_t bytes) {
  int fd = open(name, O_RDONLY);
  ssize_t got = fd < 0 ? 0 : read(fd, buffer, bytes);
  close(fd);
  return got > 0 ? (size_t)got : 0;
}

struct picture {
  char exe[PATH_MAX], cmdline[4096], environ[8192], auxv[4096];
  size_t cmdline_bytes, environ_bytes, auxv_bytes;
};

static void take(struct picture *picture) {
  memset(picture, 0, sizeof *picture);
  if (readlink("/proc/self/exe", picture->exe, sizeof picture->exe - 1) < 0) picture->exe[0] = '?';
  picture->cmdline_bytes = read_proc("/proc/self/cmdline", picture->cmdline, sizeof picture->cmdline);
  picture->environ_bytes = read_proc("/proc/self/environ", picture->environ, sizeof picture->environ);
  picture->auxv_bytes = read_proc("/proc/self/auxv", picture->auxv, sizeof picture->auxv);
}

static void vdso_works(void) {
  unsigned long base = getauxval(AT_SYSINFO_EHDR);
  CHECK(base != 0 && memcmp((void *)base, ELFMAG, SELFMAG) == 0, "there is no vdso at %lx", base);
  struct timespec by_vdso, by_syscall;
  CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &by_vdso), 0);
  CHECK_EQ(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &by_syscall), 0);
  double apart = (double)(by_syscall.tv_sec - by_vdso.tv_sec) + (double)(by_syscall.tv_nsec - by_vdso.tv_nsec) / 1e9;
  CHECK(apart >= 0 && apart < 1, "the vdso and the kernel differ by %f s", apart);
  CHECK_EQ(clock_gettime(CLOCK_REALTIME, &by_vdso), 0);
  CHECK(by_vdso.tv_sec > 1500000000 && labs(by_vdso.tv_sec - time(NULL)) <= 1, "the time of day is %ld", by_vdso.tv_sec);
  unsigned cpu = 12345, node = 12345;
  CHECK_EQ(getcpu(&cpu, &node), 0);
  CHECK(cpu < 10000, "getcpu says %u", cpu);
}

int main(int argc, char **argv) {
  static struct picture before, now;
  st_init(argc, argv);
  memset(argv[0], 'x', 5);
  take(&before);
  CHECK(before.cmdline_bytes > 5 && before.auxv_bytes > 100, "/proc/self tells too little");
  while (st_next()) {
    take(&now);
    CHECK(strcmp(now.exe, before.exe) == 0, "exe is %s, was %s", now.exe, before.exe);
    CHECK(memcmp(now.cmdline, before.cmdline, sizeof now.cmdline) == 0, "cmdline is %s, was %s", now.cmdline, before.cmdline);
    CHECK(memcmp(now.environ, before.environ, sizeof now.environ) == 0, "environ differs");
    CHECK(memcmp(now.auxv, before.auxv, sizeof now.auxv) == 0, "auxv differs");
    CHECK(strcmp(getenv("CRIU_TEST_VARIABLE") ?: "(none)", "some value") == 0, "the environment variable is %s", getenv("CRIU_TEST_VARIABLE"));
    CHECK_EQ(getauxval(AT_PAGESZ), ST_PAGE);
    vdso_works();
  }
}
