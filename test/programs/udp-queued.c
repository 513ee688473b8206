/*
 * Datagrams that nobody has received yet, from several senders that are gone meanwhile: to sockets bound to an address or
 * to all, IPv4 and IPv6, connected, and two that share a port; to one that has a filter and a smaller buffer since, and
 * one bound to a device. Contents, senders, order, and to whom they were sent. With "one" only the first gets something;
 * with "passed" they belong to a child of the task that opened them.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static union address make(int family, uint32_t v4, int port) {
  union address a = {.any.sa_family = (sa_family_t)family};
  if (family == AF_INET) a.v4.sin_addr.s_addr = htonl(v4), a.v4.sin_port = htons((uint16_t)port);
  else a.v6.sin6_port = htons((uint16_t)port), a.v6.sin6_addr = v4 != 0 ? in6addr_loopback : in6addr_any;
  return a;
}
static socklen_t length_of(const union address *a) { return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6; }
static int port_of(int fd) {
  union address a;
  MUST(getsockname(fd, &a.any, &(socklen_t){sizeof a}));
  return ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}
static int bound(int family, uint32_t v4, int port, int reuse) {
  int fd = MUST(socket(family, SOCK_DGRAM, 0));
  if (reuse) MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse, sizeof reuse));
  union address a = make(family, v4, port);
  MUST(bind(fd, &a.any, length_of(&a)));
  return fd;
}

enum { SOCKETS = 8, DATAGRAMS = 3 };
static const char *names[SOCKETS] = {"IPv4", "all of IPv4", "IPv6", "IPv4 through IPv6", "shared", "connected", "filtered", "of a device"};
static const size_t sizes[DATAGRAMS] = {5, 0, 30001};

static unsigned char byte_at(int socket, int datagram, unsigned round, size_t i) {
  return (unsigned char)(i * 7 + i / 251 + (unsigned)(socket * 50 + datagram) + round);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int one = 1, senders[SOCKETS][DATAGRAMS], ports[SOCKETS][DATAGRAMS], fds[SOCKETS];
  const int family[SOCKETS] = {AF_INET, AF_INET, AF_INET6, AF_INET6, AF_INET, AF_INET, AF_INET, AF_INET};
  const uint32_t own[SOCKETS] = {INADDR_LOOPBACK, INADDR_ANY, INADDR_LOOPBACK, INADDR_ANY, INADDR_LOOPBACK, INADDR_LOOPBACK, INADDR_LOOPBACK, INADDR_ANY};
  for (int s = 0; s < SOCKETS; s++) {
    fds[s] = bound(family[s], own[s], 0, s == 4);
    if (family[s] == AF_INET) MUST(setsockopt(fds[s], SOL_IP, IP_PKTINFO, &one, sizeof one));
    else MUST(setsockopt(fds[s], SOL_IPV6, IPV6_RECVPKTINFO, &one, sizeof one));
  }
  int sharing = bound(AF_INET, INADDR_LOOPBACK, port_of(fds[4]), 1);
  MUST(setsockopt(fds[7], SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
  struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog nothing = {1, &drop};
  unsigned char bytes[40000];
  int is_passed = argc > 2 && strcmp(argv[2], "passed") == 0, count = argc > 2 && !is_passed ? 1 : SOCKETS;
  if (is_passed) st_hand_over();
  for (unsigned round = 0;; round++) {
    for (int s = 0; s < count; s++) {
      int through = s == 3 ? AF_INET : family[s];
      /* 127.0.0.2 is an address of the host too. */
      union address to = make(through, s == 1 ? INADDR_LOOPBACK + 1 : INADDR_LOOPBACK, port_of(fds[s]));
      for (int d = 0; d < DATAGRAMS; d++) {
        senders[s][d] = s == 5 && d > 0 ? senders[s][0] : bound(through, INADDR_LOOPBACK, 0, 0);
        ports[s][d] = port_of(senders[s][d]);
        if (s == 5 && d == 0) {
          union address peer = make(AF_INET, INADDR_LOOPBACK, ports[s][0]);
          MUST(connect(fds[s], &peer.any, length_of(&peer)));
        }
        for (size_t i = 0; i < sizes[d]; i++) bytes[i] = byte_at(s, d, round, i);
        MUST(sendto(senders[s][d], bytes, sizes[d], 0, &to.any, length_of(&to)));
      }
      for (int d = 0; d < DATAGRAMS; d++) if (s != 5 || d == 0) close(senders[s][d]);
    }
    MUST(setsockopt(fds[6], SOL_SOCKET, SO_ATTACH_FILTER, &nothing, sizeof nothing));
    MUST(setsockopt(fds[6], SOL_SOCKET, SO_RCVBUF, &(int){3000}, sizeof(int)));
    st_next();
    for (int s = 0; s < count; s++)
      for (int d = 0; d < DATAGRAMS; d++) {
        struct pollfd p[2] = {{.fd = fds[s], .events = POLLIN}, {.fd = s == 4 ? sharing : -1, .events = POLLIN}};
        CHECK(poll(p, 2, 2000) >= 1, "%s: datagram %d is lost", names[s], d);
        union address from = {0};
        char control[256];
        struct iovec vector = {bytes, sizeof bytes};
        struct msghdr message = {&from, sizeof from, &vector, 1, control, sizeof control, 0};
        int fd = p[0].revents ? fds[s] : sharing;
        ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
        int port = ntohs(from.any.sa_family == AF_INET ? from.v4.sin_port : from.v6.sin6_port), which = -1;
        /* Two sockets that share a port have a queue each. */
        for (int i = 0; i < DATAGRAMS; i++) if (ports[s][i] == port && got == (ssize_t)sizes[i]) which = i;
        CHECK(which >= 0, "%s: datagram %d: %zd bytes from port %d", names[s], d, got, port);
        if (which < 0) continue;
        if (s != 4) CHECK_EQ(which, d);
        for (ssize_t i = 0; i < got; i++)
          if (bytes[i] != byte_at(s, which, round, (size_t)i)) {
            CHECK(0, "%s: datagram %d: byte %zd differs", names[s], d, i);
            break;
          }
        struct cmsghdr *info = CMSG_FIRSTHDR(&message);
        if (s == 1) CHECK_EQ(ntohl(((struct in_pktinfo *)CMSG_DATA(info))->ipi_addr.s_addr), INADDR_LOOPBACK + 1);
        CHECK(fd == sharing || info != NULL, "%s: no control message", names[s]);
      }
    union address to = make(AF_INET, INADDR_LOOPBACK, port_of(fds[6]));
    MUST(sendto(fds[0], "x", 1, 0, &to.any, length_of(&to)));
    CHECK(recv(fds[6], bytes, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "the filter lets datagrams through");
    MUST(setsockopt(fds[6], SOL_SOCKET, SO_DETACH_FILTER, &one, sizeof one));
    int size = 0;
    MUST(getsockopt(fds[6], SOL_SOCKET, SO_RCVBUF, &size, &(socklen_t){sizeof size}));
    CHECK_EQ(size, 6000);
    MUST(setsockopt(fds[6], SOL_SOCKET, SO_RCVBUF, &(int){100000}, sizeof(int)));
    CHECK(recv(fds[0], bytes, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "there is more");
    CHECK(recv(sharing, bytes, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "there is more in the one that shares");
  }
}
