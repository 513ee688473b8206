/*
 * UNIX sockets: pairs of all types between parent and child, with data in both directions and half closed; a listening
 * socket with a path, its accepted connection, somebody waiting in its backlog; datagrams to a bound socket; abstract
 * names, deleted names; options; descriptors in flight.
 */
#include "selftest.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static uint8_t pattern[100000] __attribute__((aligned(8)));
static char abstract[64];

static socklen_t address(struct sockaddr_un *to, const char *name) {
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  size_t bytes = strlen(name) + 1;
  if (name[0] != '@') {
    memcpy(to->sun_path, name, bytes);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
  }
  memcpy(to->sun_path + 1, name + 1, bytes - 2);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes - 1);
}

static int bound(int type, const char *name) {
  struct sockaddr_un to;
  int fd = MUST(socket(AF_UNIX, type, 0));
  socklen_t bytes = address(&to, name);
  MUST(bind(fd, (struct sockaddr *)&to, bytes));
  return fd;
}

static int connected(int type, const char *name) {
  struct sockaddr_un to;
  int fd = MUST(socket(AF_UNIX, type, 0));
  socklen_t bytes = address(&to, name);
  MUST(connect(fd, (struct sockaddr *)&to, bytes));
  return fd;
}

static void expect_name(int fd, const char *name, const char *who) {
  struct sockaddr_un got, wanted;
  socklen_t bytes = sizeof got, wanted_bytes = address(&wanted, name);
  MUST(getsockname(fd, (struct sockaddr *)&got, &bytes));
  CHECK_EQ(bytes, wanted_bytes);
  CHECK(memcmp(&got, &wanted, wanted_bytes) == 0, "%s: the name differs", who);
}

static void expect_bytes(int fd, size_t bytes, const char *who) {
  static uint8_t buffer[sizeof pattern];
  size_t got = 0;
  while (got < bytes) {
    ssize_t part = recv(fd, buffer + got, bytes - got, 0);
    if (part <= 0) break;
    got += (size_t)part;
  }
  CHECK(got == bytes, "%s: got %zu bytes, wanted %zu", who, got, bytes);
  CHECK(memcmp(buffer, pattern, got) == 0, "%s: the bytes differ", who);
  CHECK(recv(fd, buffer, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "%s: there is more", who);
}

static void expect_messages(int fd, int count, const char *who) {
  uint8_t buffer[4096];
  for (int i = 0; i < count; i++) {
    ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    CHECK(got == 10 * (i + 1) && memcmp(buffer, pattern + i, (size_t)got) == 0, "%s: message %d: %zd bytes", who, i, got);
  }
  CHECK(recv(fd, buffer, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "%s: there is more", who);
}

static void send_messages(int fd, int count) {
  for (int i = 0; i < count; i++) MUST(send(fd, pattern + i, (size_t)(10 * (i + 1)), 0));
}

static void send_descriptor(int to, int fd) {
  char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = {0}, byte = 'd';
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  MUST(sendmsg(to, &message, 0));
}

static int receive_descriptor(int from) {
  char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0}, byte = 0;
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  MUST(recvmsg(from, &message, MSG_DONTWAIT));
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  int fd = -1;
  if (byte == 'd' && rights != NULL && rights->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(rights), sizeof fd);
  return fd;
}

int main(int argc, char **argv) {
  int stream[2], datagram[2], packet[2], half[2], closed[2], to_child[2], carrier[2];
  st_init(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  st_fill(pattern, sizeof pattern, 1);
  snprintf(abstract, sizeof abstract, "@criu-selftest-%d", getpid());
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream));
  MUST(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, datagram));
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packet));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, half));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, closed));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, to_child));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, carrier));
  int unbound = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(shutdown(half[0], SHUT_WR));
  MUST(send(closed[0], pattern, 500, 0));
  close(closed[0]);

  int listener = bound(SOCK_STREAM, "listener.sock");
  MUST(fchmodat(AT_FDCWD, "listener.sock", 0640, 0));
  MUST(listen(listener, 7));
  int client = connected(SOCK_STREAM, "listener.sock");
  int server = MUST(accept(listener, NULL, NULL));
  int receiver = bound(SOCK_DGRAM | SOCK_NONBLOCK, abstract), sender = connected(SOCK_DGRAM, abstract);
  int ghost = bound(SOCK_DGRAM, "ghost.sock"), to_ghost = connected(SOCK_DGRAM, "ghost.sock");
  MUST(unlink("ghost.sock"));
  struct timeval timeout = {.tv_sec = 3, .tv_usec = 200000};
  int on = 1, size = 40000;
  MUST(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
  MUST(setsockopt(server, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  MUST(setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));

  if (MUST(fork()) == 0) {
    st_child("child");
    close(to_child[0]);
    while (st_next()) {
      uint64_t word = 0;
      CHECK_EQ(read(to_child[1], &word, 8), 8);
      word++;
      CHECK_EQ(write(to_child[1], &word, 8), 8);
    }
  }
  st_wait_child("child");
  close(to_child[1]);

  for (int round = 0;; round++) {
    MUST(send(stream[0], pattern, 90000, 0));
    MUST(send(stream[1], pattern, 7, 0));
    send_messages(datagram[0], 5);
    send_messages(packet[1], 3);
    send_messages(sender, 4);
    send_messages(to_ghost, 2);
    MUST(send(half[1], pattern, 30, 0));
    MUST(send(client, pattern, 999, 0));
    int waiting = connected(SOCK_STREAM, "listener.sock");
    MUST(send(server, pattern, 321, 0));
    // A pipe end that is nowhere but in flight, and a descriptor that is also open.
    int pipe_ends[2];
    MUST(pipe(pipe_ends));
    send_descriptor(carrier[0], pipe_ends[0]);
    send_descriptor(carrier[0], unbound);
    close(pipe_ends[0]);
    st_next();
    int from_pipe = receive_descriptor(carrier[1]), same = receive_descriptor(carrier[1]);
    uint8_t through = 0;
    MUST(write(pipe_ends[1], "p", 1));
    CHECK(read(from_pipe, &through, 1) == 1 && through == 'p', "the pipe in flight is another one");
    struct stat stat_same, stat_unbound;
    MUST(fstat(same, &stat_same)), MUST(fstat(unbound, &stat_unbound));
    CHECK_EQ(stat_same.st_ino, stat_unbound.st_ino);
    close(from_pipe), close(same), close(pipe_ends[1]);
    expect_bytes(stream[1], 90000, "stream");
    expect_bytes(stream[0], 7, "stream back");
    expect_messages(datagram[1], 5, "datagram");
    expect_messages(packet[0], 3, "packet");
    expect_messages(receiver, 4, "abstract");
    expect_messages(ghost, 2, "ghost");
    expect_bytes(half[0], 30, "half closed");
    expect_bytes(client, 321, "client");
    uint8_t byte[8];
    CHECK_EQ(recv(half[1], byte, 1, 0), 0);
    CHECK(send(half[0], byte, 1, 0) == -1 && errno == EPIPE, "the half closed socket sends");
    if (round == 0) {
      static uint8_t rest[500];
      CHECK_EQ(recv(closed[1], rest, sizeof rest, MSG_WAITALL), 500);
      CHECK(memcmp(rest, pattern, sizeof rest) == 0, "what the closed end had sent differs");
    }
    CHECK_EQ(recv(closed[1], byte, 1, 0), 0);
    expect_name(listener, "listener.sock", "listener");
    expect_name(server, "listener.sock", "accepted");
    expect_name(receiver, abstract, "abstract");
    expect_name(ghost, "ghost.sock", "ghost");
    CHECK(access("ghost.sock", F_OK) == -1, "the deleted name is there again");
    struct stat stat_of;
    MUST(stat("listener.sock", &stat_of));
    CHECK_EQ(stat_of.st_mode & 07777, 0640);
    int late = MUST(accept(listener, NULL, NULL));
    MUST(send(waiting, pattern, 55, 0));
    expect_bytes(late, 55, "late");
    close(late), close(waiting);

    struct timeval got_timeout;
    int got = 0;
    socklen_t bytes = sizeof got_timeout;
    MUST(getsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &got_timeout, &bytes));
    CHECK_EQ(got_timeout.tv_sec * 1000000 + got_timeout.tv_usec, 3200000);
    bytes = sizeof got;
    MUST(getsockopt(server, SOL_SOCKET, SO_PASSCRED, &got, &bytes));
    CHECK_EQ(got, 1);
    MUST(getsockopt(sender, SOL_SOCKET, SO_SNDBUF, &got, &bytes));
    CHECK_EQ(got, 80000);
    CHECK(fcntl(stream[0], F_GETFD) == FD_CLOEXEC && fcntl(packet[0], F_GETFD) == 0, "close-on-exec differs");
    CHECK((fcntl(datagram[0], F_GETFL) & O_NONBLOCK) != 0 && (fcntl(unbound, F_GETFL) & O_NONBLOCK) == 0, "flags differ");

    uint64_t word = (uint64_t)round * 10, answer = 0;
    CHECK_EQ(write(to_child[0], &word, 8), 8);
    CHECK_EQ(read(to_child[0], &answer, 8), 8);
    CHECK_EQ(answer, word + 1);
  }
}
