/*
 * TCP connections in every state, to a peer that is not in the tree and goes on meanwhile: a process that obeys commands on
 * the first connection. Arguments: 4, 6, or m (IPv4 through IPv6 sockets); and who has the connections at the dump when
 * it is not the one task that opened them: "passed" to a child alone, by a task that has closed them, or that has "ended",
 * or "shared" with it. The child goes on with them.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { ESTABLISHED = 1, SYN_SENT, FIN_WAIT1 = 4, FIN_WAIT2, CLOSE = 7, CLOSE_WAIT, LAST_ACK, CLOSING = 11 };

static union {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
} name, full_name;
static socklen_t name_bytes;
static int control;

static unsigned char byte_at(size_t position) { return (unsigned char)(position * 7 + position / 251); }

static size_t fill(int fd, size_t limit) {
  unsigned char chunk[1000];
  size_t done = 0;
  while (done < limit) {
    for (size_t i = 0; i < sizeof chunk; i++) chunk[i] = byte_at(done + i);
    size_t wanted = sizeof chunk < limit - done ? sizeof chunk : limit - done;
    ssize_t put = send(fd, chunk, wanted, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put <= 0) break;
    done += (size_t)put;
  }
  return done;
}

/* Reads so many bytes and compares them; a connection that went on at once needs no long patience. */
static int drain(int fd, size_t bytes) {
  unsigned char chunk[4096];
  size_t done = 0;
  while (done < bytes) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, 3000) != 1) return 0;
    ssize_t got = recv(fd, chunk, sizeof chunk < bytes - done ? sizeof chunk : bytes - done, MSG_DONTWAIT);
    if (got <= 0) return 0;
    for (ssize_t i = 0; i < got; i++)
      if (chunk[i] != byte_at(done + (size_t)i)) return 0;
    done += (size_t)got;
  }
  return 1;
}

static int at_end(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  char byte;
  return poll(&p, 1, 3000) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
}

/* ---- the peer ---- */

static int listener(int backlog) {
  int fd = MUST(socket(name.any.sa_family == AF_INET ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  MUST(bind(fd, &name.any, name_bytes)), MUST(listen(fd, backlog));
  return fd;
}

static void peer(int report) {
  int listening = listener(30), full = listener(0), other[64], filler;
  socklen_t length = name_bytes;
  MUST(getsockname(listening, &name.any, &length)), MUST(getsockname(full, &full_name.any, &length));
  filler = MUST(socket(name.any.sa_family, SOCK_STREAM, 0));
  MUST(connect(filler, &full_name.any, name_bytes));
  MUST(write(report, &name, sizeof name)), MUST(write(report, &full_name, sizeof full_name)), close(report);
  int commands = MUST(accept(listening, NULL, NULL));
  struct {
    char what;
    unsigned char which;
    size_t bytes;
  } c;
  while (recv(commands, &c, sizeof c, MSG_WAITALL) == (ssize_t)sizeof c) {
    int *fd = &other[c.which], ok = 1;
    if (c.what == 'a') ok = (*fd = accept(listening, NULL, NULL)) >= 0;
    if (c.what == 'f') ok = close(accept(full, NULL, NULL)) == 0 && (*fd = accept(full, NULL, NULL)) >= 0;
    if (c.what == 'w') ok = fill(*fd, c.bytes) == c.bytes;
    if (c.what == 'r') ok = drain(*fd, c.bytes);
    if (c.what == 'e') ok = at_end(*fd);
    if (c.what == 's') ok = shutdown(*fd, SHUT_WR) == 0;
    if (c.what == 'c') ok = close(*fd) == 0;
    if (c.what == 'z') ok = setsockopt(*fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, 8) == 0 && close(*fd) == 0;
    if (c.what == 'F') {
      close(filler), filler = MUST(socket(name.any.sa_family, SOCK_STREAM, 0));
      ok = connect(filler, &full_name.any, name_bytes) == 0;
    }
    if (send(commands, ok ? "k" : "n", 1, MSG_NOSIGNAL) != 1) break;
  }
  _exit(0);
}

static int tell(char what, unsigned which, size_t bytes) {
  struct {
    char what;
    unsigned char which;
    size_t bytes;
  } c = {what, (unsigned char)which, bytes};
  char answer = 0;
  if (send(control, &c, sizeof c, MSG_NOSIGNAL) != (ssize_t)sizeof c) return 0;
  struct pollfd p = {.fd = control, .events = POLLIN};
  return poll(&p, 1, 10000) == 1 && recv(control, &answer, 1, 0) == 1 && answer == 'k';
}
#define TELL(what, which, bytes) CHECK(tell(what, which, bytes), "%s: the peer fails at %c", states[which].name, what)

/* ---- the program ---- */

static const struct {
  const char *name;
  int state;
} states[] = {
    {"ESTABLISHED", ESTABLISHED}, {"FIN_WAIT1", FIN_WAIT1}, {"FIN_WAIT2", FIN_WAIT2}, {"CLOSE_WAIT", CLOSE_WAIT},
    {"LAST_ACK", LAST_ACK},       {"CLOSING", CLOSING},     {"CLOSE", CLOSE},         {"RESET", CLOSE},
    {"SYN_SENT", SYN_SENT},
};
enum { COUNT = sizeof states / sizeof states[0], FULL = COUNT - 1 };

static int state_of(int fd) {
  struct tcp_info info;
  return getsockopt(fd, SOL_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}) == 0 ? info.tcpi_state : -1;
}

/* How many segments had to be sent once more. */
static int resent(int fd) {
  struct tcp_info info;
  return getsockopt(fd, SOL_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}) == 0 ? (int)info.tcpi_total_retrans : -1;
}

static int set_int(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }
static int get_int(int fd, int level, int option) {
  int value = -1;
  return getsockopt(fd, level, option, &value, &(socklen_t){sizeof value}) == 0 ? value : -1;
}

static int connect_to(const void *address, int flags) {
  int fd = MUST(socket(name.any.sa_family, SOCK_STREAM | flags, 0));
  int result = connect(fd, address, name_bytes);
  if (result != 0 && errno != EINPROGRESS) st_die(__FILE_NAME__, __LINE__, "connect");
  return fd;
}

static void set_up(int *fds, size_t *sent) {
  for (unsigned i = 0; i < FULL; i++) {
    fds[i] = connect_to(&name, 0);
    TELL('a', i, 0);
  }
  MUST(set_int(fds[0], SOL_TCP, TCP_USER_TIMEOUT, 54321)), MUST(set_int(fds[0], SOL_TCP, TCP_KEEPIDLE, 77));
  MUST(setsockopt(fds[0], SOL_TCP, TCP_CONGESTION, "reno", 4));
  MUST(set_int(fds[0], SOL_TCP, TCP_NODELAY, 1)), MUST(set_int(fds[0], SOL_SOCKET, SO_RCVBUF, 50000));
  TELL('w', 0, 3000);
  sent[0] = fill(fds[0], (size_t)-1);
  sent[1] = fill(fds[1], (size_t)-1), MUST(shutdown(fds[1], SHUT_WR));
  MUST(shutdown(fds[2], SHUT_WR));
  TELL('w', 3, 5000);
  TELL('s', 3, 0);
  TELL('s', 4, 0);
  WAIT_FOR(state_of(fds[4]) == CLOSE_WAIT);
  sent[4] = fill(fds[4], (size_t)-1), MUST(shutdown(fds[4], SHUT_WR));
  sent[5] = fill(fds[5], (size_t)-1), MUST(shutdown(fds[5], SHUT_WR));
  TELL('w', 5, 2000);
  TELL('s', 5, 0);
  TELL('w', 6, 4000);
  TELL('s', 6, 0);
  WAIT_FOR(state_of(fds[6]) == CLOSE_WAIT);
  MUST(shutdown(fds[6], SHUT_WR));
  TELL('z', 7, 0);
  fds[FULL] = connect_to(&full_name, SOCK_NONBLOCK);
  for (unsigned i = 0; i < COUNT; i++) {
    WAIT_FOR(state_of(fds[i]) == states[i].state);
    CHECK(state_of(fds[i]) == states[i].state, "%s is state %d", states[i].name, state_of(fds[i]));
  }
}

static void check_all(const int *fds, const size_t *sent) {
  for (unsigned i = 0; i < FULL; i++) CHECK(state_of(fds[i]) == states[i].state, "%s is now %d", states[i].name, state_of(fds[i]));
  char congestion[16] = "";
  getsockopt(fds[0], SOL_TCP, TCP_CONGESTION, congestion, &(socklen_t){sizeof congestion});
  CHECK(strcmp(congestion, "reno") == 0, "congestion control is %s", congestion);
  CHECK_EQ(get_int(fds[0], SOL_TCP, TCP_USER_TIMEOUT), 54321);
  CHECK_EQ(get_int(fds[0], SOL_TCP, TCP_KEEPIDLE), 77);
  CHECK_EQ(get_int(fds[0], SOL_TCP, TCP_NODELAY), 1);
  CHECK_EQ(get_int(fds[0], SOL_SOCKET, SO_RCVBUF), 100000);
  /* ESTABLISHED: both directions, and an orderly end. */
  CHECK(drain(fds[0], 3000), "ESTABLISHED: what the peer has sent");
  TELL('r', 0, sent[0]);
  TELL('w', 0, 700);
  CHECK(drain(fds[0], 700), "ESTABLISHED: what the peer sends");
  close(fds[0]);
  TELL('e', 0, 0);
  /* Our end comes after all data. */
  for (unsigned i = 1; i <= 5; i++) {
    if (i == 2 || i == 3) continue;
    TELL('r', i, sent[i]);
    TELL('e', i, 0);
    /* What was never sent, for want of room, is not taken for lost: that would cost seconds. */
    CHECK(resent(fds[i]) < 10, "%s: %d segments were sent again", states[i].name, resent(fds[i]));
  }
  /* The other direction is still open. */
  for (unsigned i = 1; i <= 2; i++) {
    TELL('w', i, 900);
    CHECK(drain(fds[i], 900), "%s: what the peer sends", states[i].name);
  }
  CHECK(drain(fds[3], 5000) && at_end(fds[3]), "CLOSE_WAIT: what the peer has sent");
  CHECK(fill(fds[3], 6000) == 6000, "CLOSE_WAIT: send: %s", strerror(errno));
  TELL('r', 3, 6000);
  CHECK(at_end(fds[4]), "LAST_ACK: the peer's end");
  CHECK(drain(fds[5], 2000) && at_end(fds[5]), "CLOSING: what the peer has sent");
  CHECK(drain(fds[6], 4000) && at_end(fds[6]), "CLOSE: what the peer has sent");
  CHECK(recv(fds[7], congestion, 1, MSG_DONTWAIT) == -1 && errno == ECONNRESET, "RESET: recv: %s", strerror(errno));
  CHECK(recv(fds[7], congestion, 1, MSG_DONTWAIT) == 0, "RESET: it is not closed");
  /* SYN_SENT: the peer makes room, and the connection comes. */
  TELL('f', FULL, 0);
  WAIT_FOR(state_of(fds[FULL]) == ESTABLISHED);
  TELL('w', FULL, 500);
  CHECK(drain(fds[FULL], 500), "SYN_SENT: what the peer sends");
  for (unsigned i = 1; i < COUNT; i++) close(fds[i]);
  for (unsigned i = 0; i < COUNT; i++)
    if (i != 7) TELL('c', i, 0);
  TELL('F', FULL, 0);
}

/* ---- connections that another task goes on with ---- */

static void close_all(const int *fds) {
  for (int i = 0; i < COUNT; i++) close(fds[i]);
}

/* Waits for a word of the parent, and tells it what was wrong. */
static void use(const int *fds, const size_t *sent, const int go[2], const int report[2]) {
  char byte;
  close(go[1]), close(report[0]);
  CHECK(read(go[0], &byte, 1) == 1, "the parent has ended");
  check_all(fds, sent);
  size_t bytes = strlen(st_failures);
  _exit(write(report[1], st_failures, bytes) == (ssize_t)bytes ? 0 : 1);
}

static void with_child(char who, int *fds, size_t *sent) {
  int go[2], report[2];
  char said[sizeof st_failures] = "";
  MUST(pipe(go)), MUST(pipe(report));
  pid_t opener = who == 'e' ? MUST(fork()) : 0;
  if (opener == 0) {
    set_up(fds, sent);
    if (MUST(fork()) == 0) use(fds, sent, go, report);
    if (who == 'e') _exit(0);
  } else {
    waitpid(opener, NULL, 0);
  }
  close(go[0]), close(report[1]);
  if (who == 'p') close_all(fds);
  st_next();
  if (who == 's') {
    for (unsigned i = 0; i < FULL; i++) CHECK(state_of(fds[i]) == states[i].state, "%s is now %d here", states[i].name, state_of(fds[i]));
    close_all(fds);
  }
  CHECK(write(go[1], "g", 1) == 1, "the child has ended");
  for (size_t done = 0; done < sizeof said - 1;) {
    ssize_t got = read(report[0], said + done, sizeof said - 1 - done);
    if (got <= 0) break;
    done += (size_t)got;
  }
  CHECK(said[0] == 0, "child: %s", said);
  int status = -1;
  CHECK(wait(&status) > 0 && status == 0, "the child: status %x", status);
  close(go[1]), close(report[0]);
}

int main(int argc, char **argv) {
  char family = argc > 2 ? argv[2][0] : '4';
  int reports[2];
  name.any.sa_family = family == '4' ? AF_INET : AF_INET6;
  name_bytes = family == '4' ? sizeof name.v4 : sizeof name.v6;
  if (family == '4') name.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  else if (inet_pton(AF_INET6, family == 'm' ? "::ffff:127.0.0.1" : "::1", &name.v6.sin6_addr) != 1) return 3;
  MUST(pipe(reports));
  if (MUST(fork()) == 0) {
    if (MUST(fork()) != 0) _exit(0);
    setsid(), alarm(ST_LIFE_SECONDS);
    peer(reports[1]);
  }
  close(reports[1]), wait(NULL);
  if (read(reports[0], &name, sizeof name) != sizeof name || read(reports[0], &full_name, sizeof name) != sizeof name) return 4;
  close(reports[0]);
  st_init(argc, argv);
  control = connect_to(&name, 0);
  int fds[COUNT];
  size_t sent[COUNT] = {0};
  if (argc > 3) MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  while (argc > 3) with_child(argv[3][0], fds, sent);
  for (;;) {
    set_up(fds, sent);
    st_next();
    check_all(fds, sent);
  }
}
