/*
 * A ring of io_uring in which nothing is under way: counters, completions that nobody has taken, an entry that is prepared
 * and not submitted, at the same addresses. A child shares it. Arguments: flags of io_uring_setup(2), entries.
 *
 * Third argument: what speaks against it.
 */
#include "selftest.h"
#include <linux/io_uring.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>

static struct io_uring_params params;
static int ring;
static char *rings;
static struct io_uring_sqe *sqes;
/* What liburing too keeps for itself. */
static unsigned sq_tail, cq_head;

static unsigned *word(unsigned offset) { return (unsigned *)(rings + offset); }

static struct io_uring_sqe *prepare(int opcode, uint64_t data) {
  unsigned index = sq_tail & (params.sq_entries - 1);
  struct io_uring_sqe *sqe = &sqes[index << (params.flags & IORING_SETUP_SQE128 ? 1 : 0)];
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = -1;
  sqe->user_data = data;
  word(params.sq_off.array)[index] = index;
  sq_tail++;
  return sqe;
}

static void submit(unsigned count) {
  __atomic_store_n(word(params.sq_off.tail), sq_tail, __ATOMIC_RELEASE);
  CHECK_EQ(MUST(syscall(SYS_io_uring_enter, ring, count, 0, IORING_ENTER_GETEVENTS, 0, 0)), count);
}

static void take(uint64_t data, int result) {
  CHECK(__atomic_load_n(word(params.cq_off.tail), __ATOMIC_ACQUIRE) != cq_head, "no completion");
  unsigned index = (cq_head & (params.cq_entries - 1)) << (params.flags & IORING_SETUP_CQE32 ? 1 : 0);
  struct io_uring_cqe *cqe = (struct io_uring_cqe *)(rings + params.cq_off.cqes) + index;
  CHECK_EQ(cqe->user_data, data);
  CHECK_EQ(cqe->res, result);
  __atomic_store_n(word(params.cq_off.head), ++cq_head, __ATOMIC_RELEASE);
}

/* The kernel must count its requests, or criu cannot know that there are none. */
static void need_counting_kernel(void) {
  struct utsname name;
  int major = 0, minor = 0;
  uname(&name);
  sscanf(name.release, "%d.%d", &major, &minor);
  if (major < 6 || (major == 6 && minor < 16)) st_skip("Linux %s does not count requests", name.release);
}

static void set_up(unsigned flags, unsigned entries) {
  need_counting_kernel();
  params.flags = flags;
  params.cq_entries = 4 * entries;
  ring = (int)syscall(SYS_io_uring_setup, entries, &params);
  if (ring < 0) st_skip("io_uring_setup: %s", strerror(errno));
  int shift = flags & IORING_SETUP_CQE32 ? 1 : 0;
  size_t bytes = params.sq_off.array + params.sq_entries * 4;
  if (bytes < params.cq_off.cqes + (params.cq_entries * sizeof(struct io_uring_cqe) << shift)) abort();
  rings = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  CHECK(rings != MAP_FAILED, "rings");
  bytes = params.sq_entries * sizeof *sqes << (flags & IORING_SETUP_SQE128 ? 1 : 0);
  sqes = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  CHECK(sqes != MAP_FAILED, "entries");
}

static void speak_against(const char *what) {
  static struct __kernel_timespec never = {.tv_sec = 100000};
  static int fds[1];
  static unsigned limits[2] = {1, 1};
  static uint64_t cpus = 1;
  if (strcmp(what, "busy") == 0) {
    struct io_uring_sqe *sqe = prepare(IORING_OP_TIMEOUT, 1);
    sqe->addr = (uintptr_t)&never;
    sqe->len = 1;
    submit(1);
  } else if (strcmp(what, "eventfd") == 0) {
    fds[0] = MUST(eventfd(0, 0));
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_EVENTFD, fds, 1));
  } else if (strcmp(what, "files") == 0) {
    fds[0] = MUST(eventfd(0, 0));
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, fds, 1));
  } else if (strcmp(what, "buffers") == 0) {
    struct iovec vector = {.iov_base = MUST_MAP(mmap(0, ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)), .iov_len = 1};
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &vector, 1));
  } else if (strcmp(what, "buffer-ring") == 0) {
    struct io_uring_buf_reg buffers = {.ring_entries = 1};
    buffers.ring_addr = (uintptr_t)MUST_MAP(mmap(0, ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_PBUF_RING, &buffers, 1));
  } else if (strcmp(what, "personality") == 0) {
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, 0, 0));
  } else if (strcmp(what, "limits") == 0) {
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_IOWQ_MAX_WORKERS, limits, 2));
  } else if (strcmp(what, "affinity") == 0) {
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_IOWQ_AFF, &cpus, sizeof cpus));
  } else if (strcmp(what, "many") == 0) {
    for (unsigned i = 0; i < 33000 * params.sq_entries; i++) {
      prepare(IORING_OP_NOP, i);
      submit(1);
      take(i, 0);
    }
  } else if (strcmp(what, "overflow") == 0) {
    for (unsigned i = 0; i <= params.cq_entries; i++) {
      prepare(IORING_OP_NOP, i);
      submit(1);
    }
  } else if (strcmp(what, "registered") == 0) {
    struct io_uring_rsrc_update update = {.offset = -1U, .data = ring};
    MUST(syscall(SYS_io_uring_register, ring, IORING_REGISTER_RING_FDS, &update, 1));
  }
}

/* A request for a thread of the kernel, which waits for others afterwards. */
static void employ_worker(uint64_t data) {
  prepare(IORING_OP_NOP, data)->flags = IOSQE_ASYNC;
  submit(1);
  for (int i = 0; i < 2000 && *(volatile unsigned *)word(params.cq_off.tail) == cq_head; i++) usleep(1000);
  take(data, 0);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  unsigned flags = argc > 2 ? (unsigned)strtoul(argv[2], 0, 0) : 0;
  set_up(flags | IORING_SETUP_CQSIZE, argc > 3 ? (unsigned)atoi(argv[3]) : 8);
  if (argc > 4 && strcmp(argv[4], "workers") == 0) {
    /* Others may take its name. */
    if (MUST(fork()) == 0) {
      st_child("child");
      MUST(prctl(PR_SET_NAME, "iou-wrk-1"));
      while (st_next()) CHECK(fcntl(ring, F_GETFD) >= 0, "the ring is gone");
    }
    st_wait_child("child");
    employ_worker(1);
    while (st_next()) {
      employ_worker(2);
      employ_worker(3);
    }
  }
  if (argc > 4) {
    speak_against(argv[4]);
    while (st_next()) CHECK(fcntl(ring, F_GETFD) >= 0, "the ring is gone");
    return 0;
  }
  /* Around the queue, and beyond; of one with many entries the memory is much. */
  unsigned requests = params.sq_entries < 4096 ? 30000 * params.sq_entries + 5 : 5;
  for (unsigned i = 0; i < requests; i++) {
    prepare(IORING_OP_NOP, i);
    submit(1);
    take(i, 0);
  }
  int shared = MUST(eventfd(0, 0));
  int isAlone = (flags & IORING_SETUP_SINGLE_ISSUER) != 0;
  if (!isAlone && MUST(fork()) == 0) {
    /* Submits through the memory that it shares with its parent, when that tells it to. */
    st_child("child");
    while (st_next()) {
      uint64_t told;
      struct pollfd ready = {.fd = shared, .events = POLLIN};
      CHECK_EQ(poll(&ready, 1, 20000), 1);
      CHECK_EQ(read(shared, &told, sizeof told), 8);
      CHECK_EQ(syscall(SYS_io_uring_enter, ring, 1, 0, 0, 0, 0), 1);
    }
  }
  if (!isAlone) st_wait_child("child");
  /* Watched: an event comes with each completion that is new, and not for those that were counted again. */
  int set = MUST(epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event event = {.events = EPOLLIN | EPOLLET};
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, ring, &event));
  uint64_t round = 1000;
  int fd = MUST(open("/dev/zero", O_RDONLY));
  char bytes[16];
  prepare(IORING_OP_NOP, round);
  submit(1);
  /* Prepared: the kernel does not know of it yet. */
  struct io_uring_sqe *sqe = prepare(IORING_OP_READ, round + 1);
  sqe->fd = fd;
  sqe->addr = (uintptr_t)bytes;
  sqe->len = sizeof bytes;
  while (st_next()) {
    take(round, 0);
    memset(bytes, 'x', sizeof bytes);
    while (epoll_wait(set, &event, 1, 0) > 0) {
    }
    submit(1);
    CHECK_EQ(epoll_wait(set, &event, 1, 1000), 1);
    CHECK_EQ(epoll_wait(set, &event, 1, 0), 0);
    take(round + 1, sizeof bytes);
    CHECK_EQ(bytes[15], 0);
    if (!isAlone) {
      prepare(IORING_OP_NOP, round + 2);
      __atomic_store_n(word(params.sq_off.tail), sq_tail, __ATOMIC_RELEASE);
      uint64_t one = 1;
      CHECK_EQ(write(shared, &one, sizeof one), 8);
      for (int i = 0; i < 2000 && *(volatile unsigned *)word(params.cq_off.tail) == cq_head; i++) usleep(10000);
      take(round + 2, 0);
    }
    CHECK_EQ(*word(params.sq_off.head), sq_tail);
    CHECK_EQ(*word(params.cq_off.tail), cq_head);
    round += 10;
    prepare(IORING_OP_NOP, round);
    submit(1);
    sqe = prepare(IORING_OP_READ, round + 1);
    sqe->fd = fd;
    sqe->addr = (uintptr_t)bytes;
    sqe->len = sizeof bytes;
  }
}
