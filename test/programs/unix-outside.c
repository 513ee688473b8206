/*
 * UNIX sockets whose peer is a process outside of the tree, which sends back what it gets. With the argument "named" they
 * are datagram sockets, and the peers have names: a path and an abstract one. With "pair" it is one end of a pair of
 * stream sockets, which a child has too; what becomes of the other end is for the test to see to.
 */
#include "selftest.h"

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static void leave_tree(void) {
  if (MUST(fork()) != 0) _exit(0);
  setsid(), alarm(ST_LIFE_SECONDS);
}

static socklen_t name_of(struct sockaddr_un *name, const char *text) {
  memset(name, 0, sizeof *name), name->sun_family = AF_UNIX;
  strcpy(name->sun_path, text);
  if (text[0] == '@') name->sun_path[0] = 0;
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + (text[0] != '@'));
}

static int bound(const char *text) {
  struct sockaddr_un name;
  socklen_t bytes = name_of(&name, text);
  int fd = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(bind(fd, (struct sockaddr *)&name, bytes));
  return fd;
}

static void answer_datagrams(int fd) {
  if (MUST(fork()) == 0) {
    leave_tree();
    for (;;) {
      struct sockaddr_un from;
      socklen_t length = sizeof from;
      char text[50];
      ssize_t got = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&from, &length);
      if (got > 0 && length > sizeof(sa_family_t)) sendto(fd, text, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
  }
  close(fd), wait(NULL);
}

static void answer_bytes(int fd, int other) {
  if (MUST(fork()) == 0) {
    char text[50];
    close(other), leave_tree();
    for (ssize_t got; (got = read(fd, text, sizeof text)) > 0;)
      if (write(fd, text, (size_t)got) != got) break;
    _exit(0);
  }
  close(fd), wait(NULL);
}

static void expect_answer(int fd, const char *who, int round) {
  char said[50], got[50] = "";
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int bytes = snprintf(said, sizeof said, "%s, round %d", who, round);
  CHECK(send(fd, said, (size_t)bytes, MSG_NOSIGNAL) == bytes, "%s: send: %s", who, strerror(errno));
  CHECK(poll(&p, 1, 5000) == 1 && recv(fd, got, sizeof got, MSG_DONTWAIT) == bytes, "%s: no answer: %s", who, strerror(errno));
  CHECK(strcmp(got, said) == 0, "%s: the answer is \"%s\"", who, got);
}

static void with_names(int argc, char **argv) {
  char abstract[40], own_abstract[40];
  struct sockaddr_un peer;
  snprintf(abstract, sizeof abstract, "@criu-outside-%d", getpid());
  answer_datagrams(bound("outside.sock")), answer_datagrams(bound(abstract));
  st_init(argc, argv);
  snprintf(own_abstract, sizeof own_abstract, "@criu-inside-%d", getpid());
  int by_path = bound("inside.sock"), by_name = bound(own_abstract), second = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  socklen_t bytes = name_of(&peer, "outside.sock");
  MUST(connect(by_path, (struct sockaddr *)&peer, bytes)), MUST(connect(second, (struct sockaddr *)&peer, bytes));
  bytes = name_of(&peer, abstract);
  MUST(connect(by_name, (struct sockaddr *)&peer, bytes));
  for (int round = 0;; round++) {
    expect_answer(by_path, "path", round), expect_answer(by_name, "abstract", round);
    st_next();
    CHECK(send(second, "x", 1, 0) == 1, "without a name: %s", strerror(errno));
    socklen_t length = sizeof peer;
    CHECK(getpeername(second, (struct sockaddr *)&peer, &length) == 0 && strcmp(peer.sun_path, "outside.sock") == 0,
          "the peer is %s", peer.sun_path);
  }
}

static void with_pair(int argc, char **argv) {
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  answer_bytes(pair[1], pair[0]);
  st_init(argc, argv);
  int to_child[2], from_child[2];
  char byte = 'g';
  MUST(pipe(to_child)), MUST(pipe(from_child));
  expect_answer(pair[0], "set-up", 0);
  if (MUST(fork()) == 0) {
    st_child("child");
    for (int round = 1; st_next(); round++) {
      CHECK(read(to_child[0], &byte, 1) == 1, "the parent says nothing");
      expect_answer(pair[0], "child", round);
      CHECK(write(from_child[1], &byte, 1) == 1, "the parent does not listen");
    }
  }
  st_wait_child("child");
  for (int round = 1; st_next(); round++) {
    expect_answer(pair[0], "parent", round);
    CHECK(write(to_child[1], &byte, 1) == 1 && read(from_child[0], &byte, 1) == 1, "the child");
  }
}

int main(int argc, char **argv) {
  if (argc > 2 && strcmp(argv[2], "named") == 0) with_names(argc, argv);
  else with_pair(argc, argv);
}
