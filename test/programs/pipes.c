/*
 * Pipes: with data in order, of another size, non-blocking, with one end closed, between parent and child; a FIFO with
 * data. With the argument "packets" also one in packet mode (O_DIRECT).
 */
#include "selftest.h"

struct pair {
  int out, in;
};

static struct pair make(int flags) {
  int ends[2];
  MUST(pipe2(ends, flags));
  return (struct pair){ends[0], ends[1]};
}

static uint8_t pattern[200000] __attribute__((aligned(8)));

static void expect_bytes(int fd, size_t bytes, size_t from, const char *who) {
  static uint8_t buffer[200000];
  size_t got = 0;
  while (got < bytes) {
    ssize_t part = read(fd, buffer + got, bytes - got);
    if (part <= 0) break;
    got += (size_t)part;
  }
  CHECK(got == bytes, "%s: got %zu bytes, wanted %zu", who, got, bytes);
  CHECK(memcmp(buffer, pattern + from, got) == 0, "%s: the bytes differ", who);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  st_fill(pattern, sizeof pattern, 1);
  struct pair plain = make(0), big = make(O_CLOEXEC), nonblocking = make(O_NONBLOCK), packets = make(argc > 2 ? O_DIRECT : 0);
  int in_packets = argc > 2;
  struct pair no_writer = make(0), no_reader = make(0), empty = make(O_NONBLOCK), to_child = make(0), from_child = make(0);
  int big_size = MUST(fcntl(big.in, F_SETPIPE_SZ, 262144));
  MUST(mkfifo("fifo", 0600));
  int fifo = MUST(open("fifo", O_RDWR));
  MUST(write(no_writer.in, pattern, 1000));
  close(no_writer.in), close(no_reader.out);
  if (MUST(fork()) == 0) {
    st_child("child");
    close(to_child.in), close(from_child.out);
    while (st_next()) {
      uint64_t word = 0;
      CHECK_EQ(read(to_child.out, &word, 8), 8);
      word++;
      CHECK_EQ(write(from_child.in, &word, 8), 8);
    }
  }
  st_wait_child("child");
  close(to_child.out), close(from_child.in);
  for (int round = 0;; round++) {
    MUST(write(plain.in, pattern, 3000));
    MUST(write(plain.in, pattern + 3000, 5000));
    MUST(write(big.in, pattern, 200000));
    MUST(write(nonblocking.in, pattern, 10));
    for (int i = 0; i < 3 && in_packets; i++) MUST(write(packets.in, pattern + i * 8, (size_t)(8 * (i + 1))));
    MUST(write(fifo, pattern, 777));
    st_next();
    CHECK_EQ(fcntl(big.out, F_GETPIPE_SZ), big_size);
    expect_bytes(plain.out, 8000, 0, "plain pipe");
    expect_bytes(big.out, 200000, 0, "big pipe");
    expect_bytes(nonblocking.out, 10, 0, "non-blocking pipe");
    uint8_t byte[100];
    CHECK(read(nonblocking.out, byte, 1) == -1 && errno == EAGAIN, "the non-blocking pipe blocks or has more");
    CHECK(read(empty.out, byte, 1) == -1 && errno == EAGAIN, "the empty pipe has data");
    for (int i = 0; i < 3 && in_packets; i++) {
      CHECK_EQ(read(packets.out, byte, sizeof byte), 8 * (i + 1));
      CHECK(memcmp(byte, pattern + i * 8, (size_t)(8 * (i + 1))) == 0, "packet %d differs", i);
    }
    if (round == 0) expect_bytes(no_writer.out, 1000, 0, "pipe without writer");
    CHECK_EQ(read(no_writer.out, byte, 1), 0);
    CHECK(write(no_reader.in, byte, 1) == -1 && errno == EPIPE, "the pipe without reader takes data");
    expect_bytes(fifo, 777, 0, "fifo");
    CHECK(fcntl(big.in, F_GETFD) == FD_CLOEXEC && fcntl(plain.in, F_GETFD) == 0, "close-on-exec differs");
    uint64_t word = (uint64_t)round * 10, answer = 0;
    CHECK_EQ(write(to_child.in, &word, 8), 8);
    CHECK_EQ(read(from_child.out, &answer, 8), 8);
    CHECK_EQ(answer, word + 1);
  }
}
