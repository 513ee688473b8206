/*
 * A TCP listener with a connection that nobody has accepted yet: of a client that is not in the tree, and has sent
 * something. With the argument "kept" it is accepted in each round, otherwise it was forgotten by --skip-in-flight. With
 * "inside" the client is in the tree, and is reset as soon as it says something more.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

/* A process outside of the tree; when its connection has ended it says so in a file. */
static void start_client(struct sockaddr_in to, int listener, int round) {
  if (MUST(fork()) == 0) {
    close(listener);
    if (MUST(fork()) != 0) _exit(0);
    setsid(), alarm(ST_LIFE_SECONDS);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char byte, name[20];
    snprintf(name, sizeof name, "ended%d", round);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 || send(fd, "hello", 5, 0) != 5) _exit(1);
    if (recv(fd, &byte, 1, 0) == 1) _exit(2);
    close(open(name, O_CREAT | O_WRONLY, 0600));
    _exit(0);
  }
  wait(NULL);
}

/* What a connection that waits has sent, or -1 when none waits. */
static int take(int listener, char *bytes, size_t room, int timeout) {
  struct pollfd p = {.fd = listener, .events = POLLIN};
  if (poll(&p, 1, timeout) != 1) return -1;
  int fd = accept(listener, NULL, NULL);
  int got = (int)recv(fd, bytes, room, 0);
  close(fd);
  return got;
}

/* A client of the tree, which has sent something. */
static int client_inside(struct sockaddr_in to) {
  int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(fd, (struct sockaddr *)&to, sizeof to)), MUST(send(fd, "hello", 5, 0));
  return fd;
}

/* The first that it does after the reset has arrived tells of it. */
static void expect_reset(int fd) {
  char byte;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  if (send(fd, "more", 4, MSG_NOSIGNAL) == 4) {
    CHECK(poll(&p, 1, 5000) == 1, "the client in the tree hears nothing");
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == ECONNRESET, "the client in the tree: recv: %s", strerror(errno));
  } else {
    CHECK(errno == ECONNRESET, "the client in the tree: send: %s", strerror(errno));
  }
  close(fd);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int is_kept = argc > 2 && strcmp(argv[2], "kept") == 0, is_inside = argc > 2 && !is_kept, inside = -1;
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), yes = 1;
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  /* Connections that the program has ended stay a while (TIME_WAIT), and nobody could bind their port without it. */
  MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes));
  MUST(bind(listener, (struct sockaddr *)&name, sizeof name)), MUST(listen(listener, 5));
  MUST(getsockname(listener, (struct sockaddr *)&name, &(socklen_t){sizeof name}));
  for (int round = 0;; round++) {
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char bytes[9] = "", ended[20];
    if (is_inside) inside = client_inside(name);
    else start_client(name, listener, round);
    if (poll(&p, 1, 5000) != 1) st_die(__FILE_NAME__, __LINE__, "nobody connects");
    st_next();
    int got = take(listener, bytes, sizeof bytes, 0);
    if (is_kept) CHECK(got == 5 && memcmp(bytes, "hello", 5) == 0, "what waited: %d bytes", got);
    else CHECK(got == -1, "a connection waits still");
    snprintf(ended, sizeof ended, "ended%d", round);
    if (is_inside) expect_reset(inside);
    else WAIT_FOR(access(ended, F_OK) == 0);
    start_client(name, listener, round + 100);
    got = take(listener, bytes, sizeof bytes, 5000);
    CHECK(got == 5 && memcmp(bytes, "hello", 5) == 0, "a new connection: %d bytes", got);
  }
}
