/*
 * Internet sockets without connections, on the loopback device only: UDP bound, connected, shut down and between parent
 * and child, TCP new, bound and listening (also two on one port), raw and ping sockets, IPv4, IPv6 and both in one. With
 * "passed" they belong to a child of the task that opened them.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

static socklen_t length_of(const union address *a) {
  return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6;
}

static union address loopback(int family, int port) {
  union address a = {0};
  a.any.sa_family = (sa_family_t)family;
  if (family == AF_INET) {
    a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.v4.sin_port = htons((uint16_t)port);
  } else {
    a.v6.sin6_addr = in6addr_loopback;
    a.v6.sin6_port = htons((uint16_t)port);
  }
  return a;
}

static union address name_of(int fd) {
  union address a = {0};
  socklen_t length = sizeof a;
  MUST(getsockname(fd, &a.any, &length));
  return a;
}

static int bound(int family, int type, int proto) {
  int fd = MUST(socket(family, type, proto));
  union address a = loopback(family, 0);
  MUST(bind(fd, &a.any, length_of(&a)));
  return fd;
}

static void set(int fd, int level, int option, int value) { MUST(setsockopt(fd, level, option, &value, sizeof value)); }

static int get(int fd, int level, int option) {
  int value = -1;
  socklen_t length = sizeof value;
  return getsockopt(fd, level, option, &value, &length) < 0 ? -errno : value;
}

static void same_name(int fd, const union address *wanted, const char *who) {
  union address now = name_of(fd);
  CHECK(memcmp(&now, wanted, sizeof now) == 0, "%s: its address differs", who);
}

static void expect_datagram(int fd, const char *wanted, const char *who) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  char text[64] = "";
  CHECK(poll(&p, 1, 3000) == 1, "%s: nothing comes", who);
  ssize_t got = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
  CHECK(got == (ssize_t)strlen(wanted) && strcmp(text, wanted) == 0, "%s: got \"%s\", wanted \"%s\"", who, text, wanted);
}

/* A client connects to the listening socket and says a word. */
static void expect_listening(int listener, int family, const char *who) {
  union address a = name_of(listener);
  if (family == AF_INET && a.any.sa_family == AF_INET6) a = loopback(AF_INET, ntohs(a.v6.sin6_port));
  int client = MUST(socket(family, SOCK_STREAM, 0));
  CHECK(connect(client, &a.any, length_of(&a)) == 0, "%s: connect: %s", who, strerror(errno));
  int server = accept(listener, NULL, NULL);
  CHECK(server >= 0, "%s: accept: %s", who, strerror(errno));
  struct linger none = {1, 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  CHECK_EQ(write(client, "word", 4), 4);
  expect_datagram(server, "word", who);
  close(client), close(server);
}

static int listening(int family, int v6only, int reuse) {
  int fd = MUST(socket(family, SOCK_STREAM, 0));
  if (v6only >= 0) set(fd, SOL_IPV6, IPV6_V6ONLY, v6only);
  if (reuse) set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  union address a = loopback(family, 0);
  if (v6only == 0) a.v6.sin6_addr = in6addr_any;
  MUST(bind(fd, &a.any, length_of(&a)));
  MUST(listen(fd, 7));
  return fd;
}

static int backlog_of(int fd) {
  struct tcp_info info = {0};
  socklen_t length = sizeof info;
  MUST(getsockopt(fd, SOL_TCP, TCP_INFO, &info, &length));
  return (int)info.tcpi_sacked;
}

/* A filter that lets through packets longer than `bytes`. */
static void attach(int fd, unsigned bytes) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
      BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, bytes, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog program = {.len = 4, .filter = code};
  MUST(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int udp = bound(AF_INET, SOCK_DGRAM, 0), udp6 = bound(AF_INET6, SOCK_DGRAM, 0), client = bound(AF_INET, SOCK_DGRAM, 0);
  int filtered = bound(AF_INET, SOCK_DGRAM, 0), lite = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
  if (lite < 0) st_missing("UDP-Lite: %s", strerror(errno));
  union address udp_name = name_of(udp), udp6_name = name_of(udp6);
  MUST(connect(client, &udp_name.any, length_of(&udp_name)));
  attach(filtered, 8 + 4); /* with the UDP header */
  union address filtered_name = name_of(filtered);
  if (lite >= 0) MUST(bind(lite, &(union address){.v4 = loopback(AF_INET, 0).v4}.any, sizeof(struct sockaddr_in)));

  int no_write = bound(AF_INET, SOCK_DGRAM, 0), no_read = bound(AF_INET6, SOCK_DGRAM, 0);
  MUST(connect(no_write, &udp_name.any, length_of(&udp_name)));
  MUST(connect(no_read, &udp6_name.any, length_of(&udp6_name)));
  MUST(shutdown(no_write, SHUT_WR)), MUST(shutdown(no_read, SHUT_RD));

  int fresh = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int tcp_bound = bound(AF_INET6, SOCK_STREAM, 0);
  union address tcp_name = name_of(tcp_bound);
  int listener = listening(AF_INET, -1, 0), listener6 = listening(AF_INET6, 1, 0), dual = listening(AF_INET6, 0, 0);
  int first = listening(AF_INET, -1, 1), second = MUST(socket(AF_INET, SOCK_STREAM, 0));
  union address first_name = name_of(first), listener_name = name_of(listener);
  set(second, SOL_SOCKET, SO_REUSEPORT, 1);
  MUST(bind(second, &first_name.any, length_of(&first_name))), MUST(listen(second, 3));

  int raw = MUST(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)), raw6 = MUST(socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6));
  int raw_to = MUST(socket(AF_INET, SOCK_RAW, 253)), ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  if (ping < 0) st_missing("ping sockets: %s (net.ipv4.ping_group_range)", strerror(errno));
  union address nowhere = loopback(AF_INET, 0);
  MUST(connect(raw_to, &nowhere.any, sizeof nowhere.v4));
  uint32_t only_echo[8] = {0xfffffffe, 1, 2, 3, 0xffffffff, 4, 5, 6};
  MUST(setsockopt(raw, SOL_RAW, 1, only_echo, 4));
  MUST(setsockopt(raw6, IPPROTO_ICMPV6, 1, only_echo, sizeof only_echo));

  set(udp, SOL_SOCKET, SO_RCVBUF, 40000), set(udp, SOL_SOCKET, SO_BROADCAST, 1), set(udp, SOL_SOCKET, SO_MARK, 77);
  set(udp, SOL_IP, IP_TOS, 0x10), set(udp, SOL_IP, IP_TTL, 33), set(udp, SOL_IP, IP_PKTINFO, 1);
  set(udp, SOL_SOCKET, SO_PRIORITY, 5), set(udp6, SOL_IPV6, IPV6_RECVPKTINFO, 1);
  set(fresh, SOL_TCP, TCP_NODELAY, 1), set(fresh, SOL_TCP, TCP_KEEPIDLE, 321), set(fresh, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fresh, SOL_SOCKET, SO_OOBINLINE, 1), set(fresh, SOL_SOCKET, SO_REUSEADDR, 1);
  struct timeval timeout = {.tv_sec = 3, .tv_usec = 248000}, now = {0};
  MUST(setsockopt(udp6, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
  struct linger linger = {1, 19}, linger_now = {0};
  MUST(setsockopt(tcp_bound, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
  int sndbuf = get(fresh, SOL_SOCKET, SO_SNDBUF), lock = get(fresh, SOL_SOCKET, SO_BUF_LOCK);
  int rcvbuf = get(udp, SOL_SOCKET, SO_RCVBUF), udp_lock = get(udp, SOL_SOCKET, SO_BUF_LOCK);

  if (argc > 2) st_hand_over();
  if (MUST(fork()) == 0) {
    st_child("child");
    while (st_next()) CHECK_EQ(send(client, "child", 5, 0), 5);
  }
  st_wait_child("child");

  for (int round = 0;; round++) {
    st_next();
    expect_datagram(udp, "child", "UDP between parent and child");
    same_name(udp, &udp_name, "udp"), same_name(udp6, &udp6_name, "udp6"), same_name(tcp_bound, &tcp_name, "bound TCP");
    same_name(listener, &listener_name, "listener"), same_name(second, &first_name, "second on a port");
    CHECK_EQ(sendto(udp6, "to six", 6, 0, &udp6_name.any, sizeof udp6_name.v6), 6);
    expect_datagram(udp6, "to six", "UDP over IPv6");
    CHECK_EQ(sendto(udp, "ab", 2, 0, &filtered_name.any, sizeof filtered_name.v4), 2);
    CHECK_EQ(sendto(udp, "abcdefgh", 8, 0, &filtered_name.any, sizeof filtered_name.v4), 8);
    expect_datagram(filtered, "abcdefgh", "a socket with a filter");
    CHECK(send(no_write, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "shut down for writing, and yet it sends");
    struct pollfd hung = {.fd = no_read, .events = POLLRDHUP};
    CHECK(poll(&hung, 1, 0) == 1 && hung.revents == POLLRDHUP, "shut down for reading, and does not say so");
    CHECK_EQ(send(no_read, "six", 3, 0), 3);
    expect_datagram(udp6, "six", "half shut down UDP");
    if (lite >= 0) {
      union address lite_name = name_of(lite);
      CHECK_EQ(sendto(lite, "lite", 4, 0, &lite_name.any, sizeof lite_name.v4), 4);
      expect_datagram(lite, "lite", "UDPLite");
    }

    expect_listening(listener, AF_INET, "listener"), expect_listening(listener6, AF_INET6, "listener of IPv6");
    expect_listening(dual, AF_INET, "dual listener by IPv4");
    CHECK_EQ(backlog_of(listener), 7);
    CHECK_EQ(backlog_of(second), 3);
    CHECK_EQ(get(listener, SOL_SOCKET, SO_REUSEADDR), 0);
    CHECK_EQ(get(listener, SOL_SOCKET, SO_REUSEPORT), 0);
    CHECK_EQ(get(second, SOL_SOCKET, SO_REUSEPORT), 1);
    CHECK_EQ(get(second, SOL_SOCKET, SO_REUSEADDR), 0);
    CHECK_EQ(get(listener6, SOL_IPV6, IPV6_V6ONLY), 1);
    CHECK_EQ(get(dual, SOL_IPV6, IPV6_V6ONLY), 0);

    CHECK_EQ(fcntl(fresh, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ(fcntl(fresh, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(get(fresh, SOL_SOCKET, SO_SNDBUF), sndbuf);
    CHECK_EQ(get(fresh, SOL_SOCKET, SO_BUF_LOCK), lock);
    CHECK_EQ(get(fresh, SOL_TCP, TCP_NODELAY), 1);
    CHECK_EQ(get(fresh, SOL_TCP, TCP_KEEPIDLE), 321);
    CHECK_EQ(get(fresh, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_EQ(get(fresh, SOL_SOCKET, SO_OOBINLINE), 1);
    CHECK_EQ(get(fresh, SOL_SOCKET, SO_REUSEADDR), 1);
    CHECK_EQ(get(udp, SOL_SOCKET, SO_RCVBUF), rcvbuf);
    CHECK_EQ(get(udp, SOL_SOCKET, SO_BUF_LOCK), udp_lock);
    CHECK_EQ(get(udp, SOL_SOCKET, SO_BROADCAST), 1);
    CHECK_EQ(get(udp, SOL_SOCKET, SO_MARK), 77);
    CHECK_EQ(get(udp, SOL_IP, IP_TOS), 0x10);
    CHECK_EQ(get(udp, SOL_IP, IP_TTL), 33);
    CHECK_EQ(get(udp, SOL_IP, IP_PKTINFO), 1);
    CHECK_EQ(get(udp, SOL_SOCKET, SO_PRIORITY), 5 + round);
    CHECK_EQ(get(udp6, SOL_IPV6, IPV6_RECVPKTINFO), 1);
    MUST(getsockopt(udp6, SOL_SOCKET, SO_RCVTIMEO, &now, &(socklen_t){sizeof now}));
    CHECK(now.tv_sec == 3 && now.tv_usec == 248000, "the timeout is %ld.%06ld", (long)now.tv_sec, (long)now.tv_usec);
    MUST(getsockopt(tcp_bound, SOL_SOCKET, SO_LINGER, &linger_now, &(socklen_t){sizeof linger_now}));
    CHECK(linger_now.l_onoff == 1 && linger_now.l_linger == 19, "linger differs");

    uint32_t filter[8] = {0};
    MUST(getsockopt(raw, SOL_RAW, 1, filter, &(socklen_t){4}));
    CHECK_EQ(filter[0], only_echo[0]);
    MUST(getsockopt(raw6, IPPROTO_ICMPV6, 1, filter, &(socklen_t){sizeof filter}));
    CHECK(memcmp(filter, only_echo, sizeof filter) == 0, "the ICMPv6 filter differs");
    CHECK(send(raw_to, "raw", 3, 0) == 3, "connected raw socket: %s", strerror(errno));
    if (ping >= 0) {
      struct icmphdr echo = {.type = ICMP_ECHO};
      CHECK_EQ(sendto(ping, &echo, sizeof echo, 0, &nowhere.any, sizeof nowhere.v4), (long)sizeof echo);
      struct pollfd p = {.fd = ping, .events = POLLIN};
      CHECK(poll(&p, 1, 3000) == 1, "no answer to a ping");
      CHECK(recv(ping, &echo, sizeof echo, 0) > 0, "a ping that cannot be read");
    }
    char junk[256];
    while (recv(raw, junk, sizeof junk, MSG_DONTWAIT) > 0 || recv(raw_to, junk, sizeof junk, MSG_DONTWAIT) > 0) continue;
    set(udp, SOL_SOCKET, SO_PRIORITY, 6 + round);
  }
}
