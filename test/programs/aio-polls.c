/*
 * Poll requests of asynchronous I/O that wait: for a pipe, for a socket of a pair, one that tells an eventfd; they complete
 * after the restore, in the same ring, with the same data. With "stale" a request was changed after it was submitted.
 */
#include "selftest.h"
#include <linux/aio_abi.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static aio_context_t context;

static struct iocb ask(int fd, int events, uint64_t data) {
  return (struct iocb){.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = (uint64_t)events, .aio_data = data};
}

static void submit(struct iocb *request) {
  struct iocb *list[1] = {request};
  CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "io_submit: %s", strerror(errno));
}

static void expect_event(struct iocb *request, int events) {
  struct io_event event = {0};
  CHECK_EQ(syscall(SYS_io_getevents, context, 1, 1, &event, &(struct timespec){5, 0}), 1);
  CHECK(event.data == request->aio_data && event.obj == (uintptr_t)request, "event %llu instead of %llu", event.data, request->aio_data);
  CHECK((event.res & events) == events, "request %llu has events %lld", event.data, event.res);
}

static void expect_nothing(void) {
  struct io_event event;
  CHECK_EQ(syscall(SYS_io_getevents, context, 0, 1, &event, &(struct timespec){0, 0}), 0);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int is_stale = argc > 2 && strcmp(argv[2], "stale") == 0, ends[2], pair[2], quiet[2];
  aio_context_t other = 0;
  if (syscall(SYS_io_setup, 64, &context) != 0) st_skip("io_setup: %s", strerror(errno));
  MUST(syscall(SYS_io_setup, 8, &other));
  MUST(pipe(ends)), MUST(pipe(quiet)), MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  int told = MUST(eventfd(0, EFD_NONBLOCK));
  struct iocb on_pipe = ask(ends[0], POLLIN, 11), on_socket = ask(pair[0], POLLIN, 22), cancelled = ask(quiet[0], POLLIN, 33);
  on_socket.aio_flags = IOCB_FLAG_RESFD, on_socket.aio_resfd = (uint32_t)told;
  struct iocb *list[1] = {&on_pipe};
  if (syscall(SYS_io_submit, context, 1, list) != 1) st_skip("IOCB_CMD_POLL: %s", strerror(errno));
  submit(&on_socket), submit(&cancelled);
  if (is_stale) on_pipe.aio_data = 12;
  for (;;) {
    st_next();
    on_pipe.aio_data = 11;
    expect_nothing();
    uint64_t count = 0;
    CHECK(read(told, &count, sizeof count) == -1 && errno == EAGAIN, "the eventfd was told too early");
    char byte;
    MUST(write(ends[1], "x", 1));
    expect_event(&on_pipe, POLLIN);
    MUST(write(pair[1], "y", 1));
    expect_event(&on_socket, POLLIN);
    CHECK(read(told, &count, sizeof count) == 8 && count == 1, "the eventfd has %lu", (unsigned long)count);
    expect_nothing();
    MUST(read(ends[0], &byte, 1)), MUST(read(pair[0], &byte, 1));
    struct io_event event;
    CHECK(syscall(SYS_io_cancel, context, &cancelled, &event) == -1 && errno == EINPROGRESS, "it does not wait any more: %s", strerror(errno));
    CHECK_EQ(syscall(SYS_io_getevents, context, 1, 1, &event, &(struct timespec){5, 0}), 1);
    CHECK_EQ(event.data, 33);
    submit(&on_pipe), submit(&on_socket), submit(&cancelled);
  }
}
