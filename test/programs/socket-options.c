/*
 * Options of sockets that images of the original have no field for: each is changed on every socket that takes it, and
 * whatever the kernel says of it must be the same after a restore. Multicast groups with and without sources: datagrams
 * come from whom they came before.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

#define SOCKETS 10

static const struct option {
  int level, option, value;
} options[] = {
    {0, 6, 1},   {0, 7, 1},   {0, 10, 2},  {0, 11, 1},   {0, 12, 1},   {0, 13, 1},   {0, 18, 1},   {0, 19, 1},
    {0, 20, 1},  {0, 21, 7},  {0, 23, 1},  {0, 24, 1},   {0, 25, 1},   {0, 26, 1},   {0, 33, 9},   {0, 34, 0},
    {0, 49, 0},  {0, 51, 0x30002000},      {0, 1, 0x20}, {0, 2, 44},   {0, 8, 1},    {41, 2, 1},   {41, 3, 1},
    {41, 5, 1},  {41, 4, 1},  {41, 8, 1},  {41, 11, 1},  {41, 16, 33}, {41, 17, 1},  {41, 18, 12}, {41, 19, 0},
    {41, 23, 2}, {41, 25, 1}, {41, 29, 0}, {41, 31, 1},  {41, 33, 1},  {41, 51, 1},  {41, 53, 1},  {41, 56, 1},
    {41, 58, 1}, {41, 60, 1}, {41, 62, 1}, {41, 66, 1},  {41, 67, 33}, {41, 70, 0},  {41, 73, 5},  {41, 74, 1},
    {41, 75, 1}, {41, 77, 1}, {41, 72, 1}, {17, 1, 0},  {17, 101, 1}, {17, 102, 1}, {17, 103, 9}, {17, 104, 1}, {136, 10, 8},
    {136, 11, 8}, {1, 1, 1},  {1, 29, 1},  {1, 35, 1},   {1, 37, SOF_TIMESTAMPING_SOFTWARE},       {1, 40, 1},
    {1, 41, 1},  {1, 42, 3},  {1, 43, 1},  {1, 45, 1},   {1, 46, 10},  {1, 60, 1},   {1, 69, 1},   {1, 70, 3},
    {6, 2, 700}, {6, 7, 3},   {6, 8, 7},   {6, 9, 5},    {6, 13, 0},   {6, 16, 1},  {6, 18, 4321}, {6, 23, 3},   {6, 25, 5555},
    {6, 27, 1},  {6, 30, 1},  {6, 34, 1},  {6, 36, 1},   {6, 37, 9},   {6, 44, 5000}, {6, 45, 3000}, {6, 46, 3000},
    {1, 74, 0},  {1, 75, 1},  {1, 76, 1},  {1, 82, 1},   {1, 83, 0},
};
#define OPTIONS (int)(sizeof options / sizeof options[0])

static int is_for_devices(int option) {
  static const int list[] = {1, 40, 41, 43, 46, 60, 69, 70, 74, 75, 82};
  for (unsigned i = 0; i < sizeof list / sizeof list[0]; i++)
    if (list[i] == option) return 1;
  return 0;
}

static int sockets[SOCKETS];
static struct {
  int result;
  uint8_t bytes[64];
} known[SOCKETS][OPTIONS], now;

static void read_option(int fd, const struct option *option) {
  socklen_t length = sizeof now.bytes;
  memset(&now, 0, sizeof now);
  now.result = getsockopt(fd, option->level, option->option, now.bytes, &length) < 0 ? -errno : (int)length;
}

static struct sockaddr_in in4(const char *text, int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, text, &a.sin_addr);
  return a;
}

/* A socket that receives what is sent to the group, on a port that is returned. */
static int member(int *port) {
  struct sockaddr_in any = in4("0.0.0.0", 0);
  socklen_t length = sizeof any;
  int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  MUST(bind(fd, (struct sockaddr *)&any, sizeof any));
  MUST(getsockname(fd, (struct sockaddr *)&any, &length));
  *port = ntohs(any.sin_port);
  return fd;
}

static int sender;
static const struct in_addr lo = {0x0100007f};

static int comes(int fd, const char *group, int port) {
  struct sockaddr_in to = in4(group, port);
  char text[8];
  if (sendto(sender, "hello", 5, 0, (struct sockaddr *)&to, sizeof to) != 5) return -errno;
  struct pollfd p = {.fd = fd, .events = POLLIN};
  if (poll(&p, 1, 200) != 1) return 0;
  return (int)recv(fd, text, sizeof text, MSG_DONTWAIT);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int pair[2], changed = 0;
  sockets[0] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  sockets[1] = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
  sockets[2] = MUST(socket(AF_INET, SOCK_STREAM, 0));
  sockets[3] = MUST(socket(AF_INET6, SOCK_STREAM, 0));
  sockets[4] = MUST(socket(AF_INET, SOCK_RAW, 253));
  sockets[5] = MUST(socket(AF_INET6, SOCK_RAW, 253));
  sockets[6] = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  sockets[7] = pair[0], sockets[8] = pair[1];
  sockets[9] = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
  for (int s = 0; s < SOCKETS; s++)
    for (int i = 0; i < OPTIONS; i++) {
      const struct option *option = &options[i];
      // One of the pair keeps its defaults, and options for devices mean nothing to UNIX sockets.
      if (s == 8 || ((s == 6 || s == 7) && option->level == 1 && is_for_devices(option->option))) continue;
      changed += setsockopt(sockets[s], option->level, option->option, &option->value, sizeof(int)) == 0;
    }
  MUST(setsockopt(sockets[2], IPPROTO_TCP, 13 /* TCP_CONGESTION */, "reno", 4));
  CHECK(changed > 140, "only %d options could be set", changed);
  uint64_t rate = 12345678901;
  MUST(setsockopt(sockets[0], SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof rate));
  // No operation, end of list.
  MUST(setsockopt(sockets[0], IPPROTO_IP, IP_OPTIONS, "\1\1\1\0", 4));
  MUST(setsockopt(sockets[1], IPPROTO_IPV6, IPV6_DSTOPTS, "\0\0\1\4\0\0\0\0", 8));
  struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, 0xffff);
  struct sock_fprog program = {1, &all};
  int on = 1;
  MUST(setsockopt(sockets[6], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
  MUST(setsockopt(sockets[6], SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof on));
  MUST(setsockopt(sockets[9] >= 0 ? sockets[9] : sockets[0], SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
  MUST(setsockopt(sockets[0], IPPROTO_UDP, 1 /* UDP_CORK */, &on, sizeof on));
  for (int s = 0; s < SOCKETS; s++)
    for (int i = 0; i < OPTIONS; i++) read_option(sockets[s], &options[i]), known[s][i].result = now.result,
      memcpy(known[s][i].bytes, now.bytes, sizeof now.bytes);

  sender = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  MUST(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo));
  struct sockaddr_in from = in4("127.0.0.1", 0);
  MUST(bind(sender, (struct sockaddr *)&from, sizeof from));
  int off = 0, ports[4], members[4];
  for (int i = 0; i < 4; i++) {
    members[i] = member(&ports[i]);
    MUST(setsockopt(members[i], IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof off));
  }
  struct ip_mreq mreq = {.imr_interface = lo};
  inet_pton(AF_INET, "239.77.1.1", &mreq.imr_multiaddr);
  MUST(setsockopt(members[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof mreq));
  struct ip_mreq_source only = {.imr_multiaddr = mreq.imr_multiaddr, .imr_interface = lo, .imr_sourceaddr = lo};
  MUST(setsockopt(members[1], IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &only, sizeof only));
  MUST(setsockopt(members[2], IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof mreq));
  MUST(setsockopt(members[2], IPPROTO_IP, IP_BLOCK_SOURCE, &only, sizeof only));
  int six = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
  struct ipv6_mreq mreq6 = {.ipv6mr_interface = if_nametoindex("lo")};
  inet_pton(AF_INET6, "ff05::4d01", &mreq6.ipv6mr_multiaddr);
  MUST(setsockopt(six, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &mreq6, sizeof mreq6));
  CHECK_EQ(comes(members[0], "239.77.1.1", ports[0]), 5);

  for (int round = 0; st_next(); round++) {
    for (int s = 0; s < SOCKETS; s++)
      for (int i = 0; i < OPTIONS; i++) {
        read_option(sockets[s], &options[i]);
        CHECK(now.result == known[s][i].result && memcmp(now.bytes, known[s][i].bytes, sizeof now.bytes) == 0,
              "socket %d, level %d, option %d: %d, %d, was %d, %d", s, options[i].level, options[i].option, now.result,
              *(int *)now.bytes, known[s][i].result, *(int *)known[s][i].bytes);
      }
    char device[16] = "";
    MUST(getsockopt(sockets[9] >= 0 ? sockets[9] : sockets[0], SOL_SOCKET, SO_BINDTODEVICE, device, &(socklen_t){16}));
    CHECK(strcmp(device, "lo") == 0, "bound to device \"%s\"", device);
    uint64_t rate_now = 0;
    uint8_t bytes[64] = {0};
    socklen_t length = sizeof rate_now;
    MUST(getsockopt(sockets[0], SOL_SOCKET, SO_MAX_PACING_RATE, &rate_now, &length));
    CHECK_EQ(rate_now, rate);
    length = sizeof bytes;
    MUST(getsockopt(sockets[0], IPPROTO_IP, IP_OPTIONS, bytes, &length));
    CHECK(length == 4 && memcmp(bytes, "\1\1\1\0", 4) == 0, "IP_OPTIONS differs");
    length = sizeof bytes;
    MUST(getsockopt(sockets[1], IPPROTO_IPV6, IPV6_DSTOPTS, bytes, &length));
    CHECK(length == 8 && memcmp(bytes, "\0\0\1\4\0\0\0\0", 8) == 0, "IPV6_DSTOPTS differs");
    CHECK(setsockopt(sockets[6], SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof on) == -1 && errno == EPERM,
          "the filter is not locked any more");
    CHECK_EQ(comes(members[0], "239.77.1.1", ports[0]), 5);
    CHECK_EQ(comes(members[1], "239.77.1.1", ports[1]), 5);
    CHECK_EQ(comes(members[2], "239.77.1.1", ports[2]), 0);
    CHECK_EQ(comes(members[3], "239.77.1.1", ports[3]), 0);
    // Leaving works only for a member, by the address that it joined with.
    CHECK(setsockopt(members[0], IPPROTO_IP, IP_DROP_MEMBERSHIP, &mreq, sizeof mreq) == 0, "not a member any more");
    CHECK(setsockopt(members[1], IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &only, sizeof only) == 0, "no source any more");
    CHECK(setsockopt(six, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &mreq6, sizeof mreq6) == 0, "not a member of ff05::4d01");
    MUST(setsockopt(members[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof mreq));
    MUST(setsockopt(members[1], IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &only, sizeof only));
    MUST(setsockopt(six, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &mreq6, sizeof mreq6));
  }
}
