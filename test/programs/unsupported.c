/*
 * What no checkpoint can hold: the parent has an io_uring that tells an eventfd, a child has a userfaultfd. Their descriptor numbers are 41
 * and 42, so that a message that names them can be recognised.
 */
#include "selftest.h"
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/eventfd.h>

static void move_to(int fd, int number) {
  MUST(dup2(fd, number));
  close(fd);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  uint64_t counter = 0;
  if (MUST(fork()) == 0) {
    st_child("child");
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);
    if (fd < 0) st_die(__FILE__, __LINE__, "userfaultfd");
    struct uffdio_api api = {.api = UFFD_API};
    fcntl(fd, F_SETFD, 0);
    (void)api;
    move_to(fd, 42);
    while (st_next()) CHECK_EQ(fcntl(42, F_GETFD), 0);
  }
  st_wait_child("child");
  struct io_uring_params params;
  memset(&params, 0, sizeof params);
  int ring = (int)syscall(SYS_io_uring_setup, 8, &params);
  if (ring < 0) st_skip("io_uring_setup: %s", strerror(errno));
  int told = MUST(eventfd(0, 0));
  MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_EVENTFD, &told, 1));
  close(told);
  move_to(ring, 41);
  while (st_next()) {
    CHECK_EQ(counter, 0);
    CHECK(fcntl(41, F_GETFD) >= 0, "the ring is gone");
  }
}
