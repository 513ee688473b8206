/*
 * Datagrams that were sent to groups or to all, which nobody has received yet: to sockets bound to such an address, IPv4 and
 * IPv6, to two that share it, and to one bound to all addresses. Each has its own afterwards, once, with sender, group and
 * device. Runs in a network namespace with a device v0 that has the addresses 10.77.0.1 and fd00::1.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static int device;

static union address make(const char *text, int port) {
  union address a = {.any.sa_family = strchr(text, ':') ? AF_INET6 : AF_INET};
  if (a.any.sa_family == AF_INET) inet_pton(AF_INET, text, &a.v4.sin_addr), a.v4.sin_port = htons((uint16_t)port);
  else inet_pton(AF_INET6, text, &a.v6.sin6_addr), a.v6.sin6_port = htons((uint16_t)port), a.v6.sin6_scope_id = (unsigned)device;
  return a;
}
static socklen_t length_of(const union address *a) { return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6; }
static void set(int fd, int level, int option, int value) { MUST(setsockopt(fd, level, option, &value, sizeof value)); }
static int port_of(int fd) {
  union address a;
  MUST(getsockname(fd, &a.any, &(socklen_t){sizeof a}));
  return ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}

static void join(int fd, const char *group) {
  union address a = make(group, 0);
  struct ip_mreqn v4 = {a.v4.sin_addr, {0}, device};
  struct ipv6_mreq v6 = {a.v6.sin6_addr, (unsigned)device};
  if (a.any.sa_family == AF_INET) MUST(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &v4, sizeof v4));
  else MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &v6, sizeof v6));
}

/* A sender that is gone when it has sent; its port. */
static int send_to(const char *to, int port, const void *bytes, size_t count) {
  union address a = make(to, port), own = make(a.any.sa_family == AF_INET ? "10.77.0.1" : "fd00::1", 0);
  int fd = MUST(socket(a.any.sa_family, SOCK_DGRAM, 0));
  set(fd, SOL_SOCKET, SO_BROADCAST, 1);
  MUST(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, strcmp(to, "255.255.255.255") == 0 ? "lo" : "v0", 3));
  MUST(bind(fd, &own.any, length_of(&own)));
  MUST(sendto(fd, bytes, count, 0, &a.any, length_of(&a)));
  int from = port_of(fd);
  close(fd);
  return from;
}

static const struct {
  const char *name, *bound, *group;
  int isShared, isMember;
} all[] = {
    {"a group", "239.1.2.3", "239.1.2.3", 1, 1},        {"a group too", "239.1.2.3", "239.1.2.3", 1, 1},
    {"a group of others", "239.1.2.5", "239.1.2.5", 0, 0}, {"all hosts", "255.255.255.255", "255.255.255.255", 0, 0},
    {"any address", "0.0.0.0", "239.1.2.4", 0, 1},      {"a group of a site", "ff05::123", "ff05::123", 0, 1},
    {"a group of a link", "ff02::123", "ff02::123", 0, 1}, {"any IPv6 address", "::", "ff05::124", 0, 1},
};
enum { SOCKETS = sizeof all / sizeof all[0] };
static const size_t sizes[] = {7, 0, 1200};
enum { DATAGRAMS = sizeof sizes / sizeof sizes[0] };

static void check_one(int s, int fd, int port, const unsigned char *wanted, size_t size) {
  unsigned char bytes[2000];
  char control[256];
  union address from = {0};
  struct iovec vector = {bytes, sizeof bytes};
  struct msghdr message = {&from, sizeof from, &vector, 1, control, sizeof control, 0};
  ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
  CHECK(got == (ssize_t)size, "%s: %zd bytes instead of %zu (%s)", all[s].name, got, size, strerror(errno));
  if (got < 0) return;
  CHECK(memcmp(bytes, wanted, size) == 0, "%s: another content", all[s].name);
  CHECK_EQ(ntohs(from.any.sa_family == AF_INET ? from.v4.sin_port : from.v6.sin6_port), port);
  union address group = make(all[s].group, 0);
  struct cmsghdr *info = CMSG_FIRSTHDR(&message);
  CHECK(info != NULL, "%s: no control message", all[s].name);
  if (info == NULL) return;
  struct in_pktinfo *v4 = (struct in_pktinfo *)CMSG_DATA(info);
  struct in6_pktinfo *v6 = (struct in6_pktinfo *)CMSG_DATA(info);
  int is_v4 = group.any.sa_family == AF_INET;
  CHECK(is_v4 ? v4->ipi_addr.s_addr == group.v4.sin_addr.s_addr : memcmp(&v6->ipi6_addr, &group.v6.sin6_addr, 16) == 0,
        "%s: sent to another address", all[s].name);
  if (all[s].isMember) CHECK_EQ(is_v4 ? v4->ipi_ifindex : (int)v6->ipi6_ifindex, device);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  device = (int)if_nametoindex("v0");
  int fds[SOCKETS], ports[SOCKETS][DATAGRAMS];
  for (int s = 0; s < SOCKETS; s++) {
    union address a = make(all[s].bound, s > 0 && all[s - 1].isShared && all[s].isShared ? port_of(fds[s - 1]) : 0);
    int is_v4 = a.any.sa_family == AF_INET;
    fds[s] = MUST(socket(a.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    if (all[s].isShared) set(fds[s], SOL_SOCKET, SO_REUSEADDR, 1);
    set(fds[s], is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, 1);
    if (strncmp(all[s].bound, "ff02", 4) == 0) MUST(setsockopt(fds[s], SOL_SOCKET, SO_BINDTODEVICE, "v0", 3));
    MUST(bind(fds[s], &a.any, length_of(&a)));
    if (all[s].isMember) join(fds[s], all[s].group);
  }
  /* Who is no member receives what comes for another socket's membership. */
  int member = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  join(member, "239.1.2.5");
  unsigned char bytes[2000];
  for (unsigned round = 0;; round++) {
    memset(bytes, (int)round + 'a', sizeof bytes);
    for (int s = 0; s < SOCKETS; s++)
      for (int d = 0; d < DATAGRAMS; d++) {
        ports[s][d] = s == 1 ? ports[0][d] : send_to(all[s].group, port_of(fds[s]), bytes, sizes[d]);
      }
    st_next();
    for (int s = 0; s < SOCKETS; s++) {
      for (int d = 0; d < DATAGRAMS; d++) check_one(s, fds[s], ports[s][d], bytes, sizes[d]);
      CHECK(recv(fds[s], bytes + 1999, 1, 0) == -1 && errno == EAGAIN, "%s: there is more", all[s].name);
      CHECK((fcntl(fds[s], F_GETFL) & O_NONBLOCK) != 0, "%s: it waits", all[s].name);
    }
  }
}
