/*
 * An AIO ring that has turned over, with completed events in it that nobody has taken; taken by the application itself
 * from the ring (as libaio does) and by system call; filled up to the last slot afterwards. Two rings, one with nothing.
 */
#include "selftest.h"
#include <linux/aio_abi.h>

struct ring {
  unsigned id, nr, head, tail, magic, compat, incompat, header_length;
  struct io_event events[];
};

static int fd;
static uint64_t submitted, taken;
static aio_context_t context;

static int submit(void) {
  static char byte = 'x';
  struct iocb request = {.aio_fildes = (uint32_t)fd, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (uintptr_t)&byte, .aio_nbytes = 1, .aio_data = submitted};
  struct iocb *list[1] = {&request};
  if (syscall(SYS_io_submit, context, 1, list) != 1) return 0;
  submitted++;
  return 1;
}

static void take(void) {
  struct io_event event;
  CHECK_EQ(syscall(SYS_io_getevents, context, 1, 1, &event, &(struct timespec){2, 0}), 1);
  CHECK(event.data == taken && event.res == 1, "event %llu instead of %lu", event.data, (unsigned long)taken);
  taken++;
}

static void take_from_ring(void) {
  volatile struct ring *ring = (struct ring *)context;
  CHECK(ring->head != ring->tail, "the ring is empty");
  CHECK(ring->events[ring->head].data == taken, "event %llu instead of %lu", ring->events[ring->head].data, (unsigned long)taken);
  ring->head = (ring->head + 1) % ring->nr;
  taken++;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  aio_context_t unused = 0;
  if (syscall(SYS_io_setup, 100, &context) != 0) st_skip("io_setup: %s", strerror(errno));
  MUST(syscall(SYS_io_setup, 2000, &unused));
  fd = MUST(open("/dev/null", O_WRONLY));
  struct ring *ring = (struct ring *)context;
  for (int i = 0; i < 5; i++) CHECK_EQ(submit(), 1);
  for (;;) {
    st_next();
    for (int i = 0; i < 2; i++) take();
    for (int i = 0; i < 3; i++) take_from_ring();
    CHECK_EQ(submitted, taken);
    int fitted = 0;
    while (fitted < 10000 && submit()) fitted++;
    CHECK(fitted >= 100 && fitted < (int)ring->nr, "%d requests fit into a ring of %u", fitted, ring->nr);
    for (int i = 0; i < fitted; i++) i % 2 ? take() : take_from_ring();
    /* Leave the tail behind the head. */
    while (ring->tail != ring->nr - 2) {
      CHECK(submit(), "io_submit: %s", strerror(errno));
      take();
    }
    for (int i = 0; i < 5; i++) CHECK_EQ(submit(), 1);
  }
}
