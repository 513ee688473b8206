/*
 * TCP connections that come back closed (--tcp-close): to a peer that is not in the tree, and between two sockets of the
 * tree, with data that nobody has read. The listening socket, an unconnected one and UDP go on. What was closed in one
 * round is there in the next.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

enum { ESTABLISHED = 1, CLOSE = 7, LISTEN = 10, KEPT = 3 };

static struct sockaddr_in at(int fd) {
  struct sockaddr_in name;
  MUST(getsockname(fd, (struct sockaddr *)&name, &(socklen_t){sizeof name}));
  return name;
}

static int bound(int type) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = MUST(socket(AF_INET, type, 0));
  MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
  return fd;
}

static int connected(struct sockaddr_in to) {
  int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
  return fd;
}

static int state_of(int fd) {
  struct tcp_info info;
  return getsockopt(fd, SOL_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}) == 0 ? info.tcpi_state : -1;
}

static int get_int(int fd, int level, int option) {
  int value = -1;
  return getsockopt(fd, level, option, &value, &(socklen_t){sizeof value}) == 0 ? value : -1;
}

/* Accepts all, reads nothing. */
static struct sockaddr_in start_peer(void) {
  int listener = bound(SOCK_STREAM);
  struct sockaddr_in name = at(listener);
  MUST(listen(listener, 9));
  if (MUST(fork()) == 0) {
    if (MUST(fork()) != 0) _exit(0);
    setsid(), alarm(ST_LIFE_SECONDS);
    for (;;) accept(listener, NULL, NULL);
  }
  close(listener), wait(NULL);
  return name;
}

static void expect_closed(int fd, const char *who) {
  char byte;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  CHECK(state_of(fd) == CLOSE, "%s: the state is %d", who, state_of(fd));
  CHECK(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) != 0, "%s: poll says %x", who, p.revents);
  CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == 0, "%s: it is not at its end: %s", who, strerror(errno));
  CHECK(send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 && errno == EPIPE, "%s: send: %s", who, strerror(errno));
  CHECK(get_int(fd, SOL_SOCKET, SO_KEEPALIVE) == 1, "%s: SO_KEEPALIVE", who);
  CHECK(get_int(fd, SOL_TCP, TCP_NODELAY) == 1 && get_int(fd, SOL_TCP, TCP_KEEPIDLE) == 77, "%s: options of TCP", who);
}

int main(int argc, char **argv) {
  struct sockaddr_in peer = start_peer();
  st_init(argc, argv);
  int listener = bound(SOCK_STREAM), udp = bound(SOCK_DGRAM), fresh = bound(SOCK_STREAM), yes = 1;
  int fds[10 * KEPT];
  struct sockaddr_in own = at(listener), udp_name = at(udp), fresh_name = at(fresh);
  MUST(listen(listener, 4));
  for (int count = 0;; count += KEPT) {
    if (count == 10 * KEPT) return 0;
    int *made = &fds[count];
    made[0] = connected(peer), made[1] = connected(own), made[2] = MUST(accept(listener, NULL, NULL));
    for (int i = 0; i < KEPT; i++) {
      MUST(setsockopt(made[i], SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes));
      MUST(setsockopt(made[i], SOL_TCP, TCP_NODELAY, &yes, sizeof yes));
      MUST(setsockopt(made[i], SOL_TCP, TCP_KEEPIDLE, &(int){77}, sizeof(int)));
      MUST(send(made[i], "lost", 4, 0));
      CHECK_EQ(state_of(made[i]), ESTABLISHED);
    }
    st_next();
    for (int i = 0; i < count; i++) expect_closed(fds[i], "of a round before");
    expect_closed(made[0], "to the peer"), expect_closed(made[1], "client"), expect_closed(made[2], "server");
    CHECK_EQ(state_of(listener), LISTEN);
    CHECK(at(listener).sin_port == own.sin_port && at(udp).sin_port == udp_name.sin_port, "the ports are others");
    CHECK(at(fresh).sin_port == fresh_name.sin_port && state_of(fresh) == CLOSE, "the port of the unconnected one is another");
    CHECK_EQ(sendto(udp, "u", 1, 0, (struct sockaddr *)&udp_name, sizeof udp_name), 1);
    char byte = 0;
    CHECK(recv(udp, &byte, 1, 0) == 1 && byte == 'u', "UDP: %c", byte);
    int client = connected(own), server = MUST(accept(listener, NULL, NULL));
    CHECK(send(client, "n", 1, 0) == 1 && recv(server, &byte, 1, 0) == 1 && byte == 'n', "a new connection: %c", byte);
    close(client), close(server);
  }
}
