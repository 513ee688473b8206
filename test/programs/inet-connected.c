/*
 * A TCP connection of the program with itself, IPv4 and IPv6, with data on its way in both directions: read by nobody, as
 * much as fits. The listening socket, on the same port as one end, goes on to listen. Neither end may send more than the
 * other has room for. With "passed" all of it belongs to a child of the task that opened it.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

struct connection {
  int listener, client, server;
  union address name;
};

static struct connection make(int family) {
  struct connection c = {.name.any.sa_family = (sa_family_t)family};
  if (family == AF_INET) c.name.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  else c.name.v6.sin6_addr = in6addr_loopback;
  socklen_t length = family == AF_INET ? sizeof c.name.v4 : sizeof c.name.v6;
  c.listener = MUST(socket(family, SOCK_STREAM, 0)), c.client = MUST(socket(family, SOCK_STREAM, 0));
  MUST(bind(c.listener, &c.name.any, length)), MUST(listen(c.listener, 3));
  MUST(getsockname(c.listener, &c.name.any, &length));
  MUST(connect(c.client, &c.name.any, length));
  c.server = MUST(accept(c.listener, NULL, NULL));
  return c;
}

static unsigned char byte_at(size_t position, unsigned seed) { return (unsigned char)(position * 7 + position / 251 + seed); }

/* Writes until nothing fits any more, or `limit`; returns how much. */
static size_t fill(int fd, size_t limit, unsigned seed) {
  unsigned char chunk[1000];
  size_t done = 0;
  while (done < limit) {
    for (size_t i = 0; i < sizeof chunk; i++) chunk[i] = byte_at(done + i, seed);
    ssize_t put = send(fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (put <= 0) break;
    done += (size_t)put;
  }
  return done;
}

static void drain(int fd, size_t bytes, unsigned seed, const char *who) {
  unsigned char chunk[4096];
  size_t done = 0;
  while (done < bytes) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    /* A restored connection goes on at once: it waits for no retransmission. The rest is for a busy machine. */
    if (poll(&p, 1, 3000) != 1) break;
    ssize_t got = recv(fd, chunk, sizeof chunk, MSG_DONTWAIT);
    if (got <= 0) break;
    for (ssize_t i = 0; i < got; i++) {
      if (chunk[i] == byte_at(done + (size_t)i, seed)) continue;
      CHECK(0, "%s: byte %zu differs", who, done + (size_t)i);
      return;
    }
    done += (size_t)got;
  }
  CHECK(done == bytes, "%s: %zu bytes of %zu arrive (%s)", who, done, bytes, strerror(errno));
  CHECK(recv(fd, chunk, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "%s: there is more", who);
}

static void check_window(int from, int to, const char *who) {
  struct tcp_info info = {0};
  MUST(getsockopt(from, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
  int room = 0;
  MUST(getsockopt(to, SOL_SOCKET, SO_RCVBUF, &room, &(socklen_t){sizeof room}));
  CHECK(info.tcpi_snd_wnd <= (unsigned)room, "%s: %u bytes may be sent, with room for %d", who, info.tcpi_snd_wnd, room);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct connection all[2] = {make(AF_INET), make(AF_INET6)};
  int yes = 1;
  MUST(setsockopt(all[0].client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes));
  if (argc > 2) st_hand_over();
  for (unsigned round = 0;; round++) {
    size_t to_server[2], to_client[2];
    for (unsigned i = 0; i < 2; i++) {
      to_server[i] = fill(all[i].client, (size_t)-1, round + i);
      to_client[i] = fill(all[i].server, 5000, round + i + 50);
    }
    st_next();
    for (unsigned i = 0; i < 2; i++) {
      check_window(all[i].client, all[i].server, "window to the server");
      check_window(all[i].server, all[i].client, "window to the client");
      drain(all[i].server, to_server[i], round + i, i == 0 ? "IPv4, to the server" : "IPv6, to the server");
      drain(all[i].client, to_client[i], round + i + 50, i == 0 ? "IPv4, to the client" : "IPv6, to the client");
      int other = MUST(socket(all[i].name.any.sa_family, SOCK_STREAM, 0));
      CHECK(connect(other, &all[i].name.any, sizeof all[i].name) == 0, "nobody listens any more: %s", strerror(errno));
      int accepted = accept(all[i].listener, NULL, NULL);
      CHECK(accepted >= 0, "accept: %s", strerror(errno));
      struct linger none = {1, 0};
      setsockopt(other, SOL_SOCKET, SO_LINGER, &none, sizeof none);
      close(other), close(accepted);
    }
    int nodelay = 0;
    MUST(getsockopt(all[0].client, IPPROTO_TCP, TCP_NODELAY, &nodelay, &(socklen_t){sizeof nodelay}));
    CHECK_EQ(nodelay, 1);
  }
}
