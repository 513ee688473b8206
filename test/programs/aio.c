/* An AIO ring: the context id stays valid, requests can be submitted and completed after the restore. */
#include "selftest.h"
#include <linux/aio_abi.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 64, &context) != 0) st_skip("io_setup: %s", strerror(errno));
  int fd = MUST(open("aio-file", O_RDWR | O_CREAT, 0600));
  MUST(write(fd, "0123456789abcdef", 16));
  for (int round = 0;; round++) {
    char buffer[16] = "";
    struct iocb request = {.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (uintptr_t)buffer, .aio_nbytes = 4, .aio_offset = 10, .aio_data = 77};
    struct iocb *list[1] = {&request};
    for (int i = 0; i < 5; i++) {
      memset(buffer, 0, sizeof buffer);
      CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "io_submit: %s", strerror(errno));
      struct io_event event;
      CHECK_EQ(syscall(SYS_io_getevents, context, 1, 1, &event, &(struct timespec){2, 0}), 1);
      CHECK(event.data == 77 && event.res == 4 && memcmp(buffer, "abcd", 4) == 0, "the completion has %lld bytes: %s", event.res, buffer);
    }
    st_next();
  }
}
