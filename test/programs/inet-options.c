/*
 * Options of established TCP connections, the same ones over all rounds: what was negotiated (window scale, timestamps,
 * SACK), what was set, and what was not; to a peer that is not in the tree and sends back what it gets, and inside of the
 * tree. One of them is corked, and holds data back. Arguments: "quiet" leaves nothing on its way, "bare" wants connections
 * without any extension, "passed" gives all to a child of the task that opened them.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

enum { PLAIN, SET, SMALL, CORKED, CLIENT, SERVER, COUNT };
static const char *const names[COUNT] = {"plain", "set", "small", "corked", "client", "server"};

static const struct option {
  const char *name;
  int level, option, value;
} options[] = {
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1}, {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1},
    {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 3},   {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 1},
    {"SO_MARK", SOL_SOCKET, SO_MARK, 0},           {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 71},
    {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 13}, {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 5},
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1},  {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, 23456},
    {"TCP_LINGER2", IPPROTO_TCP, TCP_LINGER2, 17}, {"TCP_SYNCNT", IPPROTO_TCP, TCP_SYNCNT, 4},
    {"IP_TTL", IPPROTO_IP, IP_TTL, 33},            {"IP_TOS", IPPROTO_IP, IP_TOS, 8},
};
enum { OPTIONS = sizeof options / sizeof options[0] };

/* What is to stay as it is. */
struct picture {
  int values[OPTIONS], cork, buf_lock, sndbuf, rcvbuf;
  struct linger linger;
  char device[16];
  unsigned extensions, send_scale, receive_scale;
};

static int set_int(int fd, int level, int option, int value) { return setsockopt(fd, level, option, &value, sizeof value); }
static int get_int(int fd, int level, int option) {
  int value = -1;
  return getsockopt(fd, level, option, &value, &(socklen_t){sizeof value}) == 0 ? value : -1;
}

static struct picture look(int fd) {
  struct picture p = {0};
  struct tcp_info info = {0};
  for (int i = 0; i < OPTIONS; i++) p.values[i] = get_int(fd, options[i].level, options[i].option);
  p.cork = get_int(fd, IPPROTO_TCP, TCP_CORK), p.buf_lock = get_int(fd, SOL_SOCKET, SO_BUF_LOCK);
  p.sndbuf = get_int(fd, SOL_SOCKET, SO_SNDBUF), p.rcvbuf = get_int(fd, SOL_SOCKET, SO_RCVBUF);
  getsockopt(fd, SOL_SOCKET, SO_LINGER, &p.linger, &(socklen_t){sizeof p.linger});
  getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, p.device, &(socklen_t){sizeof p.device});
  getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info});
  p.extensions = info.tcpi_options & (TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE);
  p.send_scale = info.tcpi_snd_wscale, p.receive_scale = info.tcpi_rcv_wscale;
  return p;
}

static void compare(const char *who, struct picture got, struct picture wanted) {
  for (int i = 0; i < OPTIONS; i++) {
    CHECK(got.values[i] == wanted.values[i], "%s: %s is %d, was %d", who, options[i].name, got.values[i], wanted.values[i]);
  }
#define SAME(field) CHECK(got.field == wanted.field, "%s: " #field " is %d, was %d", who, (int)got.field, (int)wanted.field)
  SAME(cork);
  SAME(buf_lock);
  SAME(linger.l_onoff);
  SAME(linger.l_linger);
  SAME(extensions);
  SAME(send_scale);
  SAME(receive_scale);
  /* The kernel changes those that nobody has set. */
  if ((wanted.buf_lock & 1) != 0) SAME(sndbuf);
  if ((wanted.buf_lock & 2) != 0) SAME(rcvbuf);
  CHECK(strcmp(got.device, wanted.device) == 0, "%s: SO_BINDTODEVICE is \"%s\", was \"%s\"", who, got.device, wanted.device);
}

static void set_all(int fd) {
  for (int i = 0; i < OPTIONS; i++) MUST(set_int(fd, options[i].level, options[i].option, options[i].value));
  MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 7}, sizeof(struct linger)));
  MUST(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
  MUST(set_int(fd, SOL_SOCKET, SO_SNDBUF, 30000)), MUST(set_int(fd, SOL_SOCKET, SO_RCVBUF, 40000));
}

static int listening(struct sockaddr_in *name) {
  int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
  *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(fd, (struct sockaddr *)name, sizeof *name)), MUST(listen(fd, 9));
  MUST(getsockname(fd, (struct sockaddr *)name, &(socklen_t){sizeof *name}));
  return fd;
}

/* A process outside of the tree that sends back what it gets. */
static struct sockaddr_in start_peer(void) {
  struct sockaddr_in name;
  int listener = listening(&name);
  if (MUST(fork()) == 0) {
    if (MUST(fork()) != 0) _exit(0);
    setsid(), signal(SIGCHLD, SIG_IGN), alarm(ST_LIFE_SECONDS);
    for (;;) {
      int fd = accept(listener, NULL, NULL);
      if (fork() == 0) {
        char bytes[100];
        alarm(ST_LIFE_SECONDS);
        for (ssize_t got; (got = recv(fd, bytes, sizeof bytes, 0)) > 0;) send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
        _exit(0);
      }
      close(fd);
    }
  }
  close(listener), wait(NULL);
  return name;
}

static int connected(struct sockaddr_in to, int rcvbuf) {
  int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
  if (rcvbuf > 0) MUST(set_int(fd, SOL_SOCKET, SO_RCVBUF, rcvbuf));
  MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
  return fd;
}

static void expect_bytes(int fd, const char *wanted, const char *who) {
  char got[40] = "";
  size_t bytes = strlen(wanted), done = 0;
  for (struct pollfd p = {.fd = fd, .events = POLLIN}; done < bytes && poll(&p, 1, 5000) == 1;) {
    ssize_t part = recv(fd, got + done, bytes - done, MSG_DONTWAIT);
    if (part <= 0) break;
    done += (size_t)part;
  }
  CHECK(strcmp(got, wanted) == 0, "%s: got \"%s\", wanted \"%s\" (%s)", who, got, wanted, strerror(errno));
}

static void say(int fd, const char *text) { CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text), "send: %s", strerror(errno)); }

int main(int argc, char **argv) {
  int is_quiet = argc > 2 && strcmp(argv[2], "quiet") == 0, is_bare = argc > 2 && strcmp(argv[2], "bare") == 0;
  struct sockaddr_in peer = start_peer(), own;
  st_init(argc, argv);
  int listener = listening(&own), fds[COUNT];
  for (int i = PLAIN; i <= CORKED; i++) fds[i] = connected(peer, i == SMALL ? 4000 : 0);
  fds[CLIENT] = connected(own, 0), fds[SERVER] = MUST(accept(listener, NULL, NULL));
  set_all(fds[SET]), set_all(fds[SERVER]);
  MUST(set_int(fds[CORKED], IPPROTO_TCP, TCP_CORK, 1));
  struct picture before[COUNT];
  for (int i = 0; i < COUNT; i++) before[i] = look(fds[i]);
  CHECK_EQ(before[PLAIN].extensions, is_bare ? 0 : 7);
  CHECK(is_bare || before[SMALL].receive_scale != before[PLAIN].receive_scale, "the window scales are alike");
  CHECK(before[SET].values[1] == 1 && strcmp(before[SET].device, "lo") == 0, "options were not set");
  if (argc > 2 && strcmp(argv[2], "passed") == 0) st_hand_over();
  for (;;) {
    if (!is_quiet) say(fds[CORKED], "held ");
    st_next();
    for (int i = 0; i < COUNT; i++) compare(names[i], look(fds[i]), before[i]);
    say(fds[CORKED], "back");
    MUST(set_int(fds[CORKED], IPPROTO_TCP, TCP_CORK, 0));
    expect_bytes(fds[CORKED], is_quiet ? "back" : "held back", names[CORKED]);
    MUST(set_int(fds[CORKED], IPPROTO_TCP, TCP_CORK, 1));
    for (int i = PLAIN; i <= SMALL; i++) say(fds[i], "there and back"), expect_bytes(fds[i], "there and back", names[i]);
    say(fds[CLIENT], "to the server"), expect_bytes(fds[SERVER], "to the server", names[SERVER]);
    say(fds[SERVER], "to the client"), expect_bytes(fds[CLIENT], "to the client", names[CLIENT]);
  }
}
