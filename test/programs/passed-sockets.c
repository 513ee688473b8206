/*
 * Sockets that were passed on (passed.h): UNIX, TCP, UDP, UDP-Lite, raw, ping, packet, netlink; and a TUN device. All of
 * them carry data, in a network namespace of the test.
 */
#include "passed.h"
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>
#include <sys/ioctl.h>
#include <sys/un.h>

enum { PROTOCOL = 253, ETHER_TYPE = 0x88b5, FRAMES = 8, FRAME = 2048, RING = FRAMES * FRAME };
#define GROUP 0xef4d0101

static const struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr = {0x0100007f}};

static struct sockaddr_in name_of(int fd) {
  struct sockaddr_in name = {0};
  CHECK_EQ(getsockname(fd, (struct sockaddr *)&name, &(socklen_t){sizeof name}), 0);
  return name;
}

static int bound(int type, int protocol, const struct sockaddr_in *name) {
  int fd = socket(AF_INET, type | SOCK_NONBLOCK, protocol);
  if (fd >= 0) MUST(bind(fd, (struct sockaddr *)name, sizeof *name));
  return fd;
}

static void send_to(const char *what, int fd, const struct sockaddr_in *to, const void *bytes, size_t count) {
  CHECK(sendto(fd, bytes, count, 0, (struct sockaddr *)to, sizeof *to) == (ssize_t)count, "%s: send: %s", what, strerror(errno));
}

/* Pairs: what was said in both directions is in their queues. */
static const struct pair { const char *names[2]; int type; } pairs[] = {
  {{"stream", "stream'"}, SOCK_STREAM}, {{"datagram", "datagram'"}, SOCK_DGRAM}, {{"packets", "packets'"}, SOCK_SEQPACKET}, {{"TCP", "TCP'"}, 0},
};

static int listen_tcp(void) {
  int fd = MUST(bound(SOCK_STREAM, 0, &loopback));
  MUST(listen(fd, 5));
  return fd;
}

static void make_pairs(void) {
  for (int i = 0; i < 4; i++) {
    int ends[2];
    if (pairs[i].type != 0) MUST(socketpair(AF_UNIX, pairs[i].type, 0, ends));
    else {
      int listener = listen_tcp();
      struct sockaddr_in name = name_of(listener);
      ends[0] = MUST(socket(AF_INET, SOCK_STREAM, 0)), MUST(connect(ends[0], (struct sockaddr *)&name, sizeof name));
      poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 1000);
      ends[1] = MUST(accept(listener, NULL, NULL)), close(listener);
    }
    passed_add_pair(pairs[i].names[0], pairs[i].names[1], ends);
    for (int end = 0; end < 2; end++) say(pairs[i].names[!end], ends[!end], said(pairs[i].names[end], 0));
  }
}

static void use_pairs(int turn) {
  for (int i = 0; i < 4; i++)
    for (int end = 0; end < 2; end++) expect_and_say(pairs[i].names[end], pairs[i].names[!end], turn);
}

static struct sockaddr_un path_name(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  snprintf(name.sun_path, sizeof name.sun_path, "%s", path_of("listener"));
  return name;
}

static void make_listeners(void) {
  struct sockaddr_un name = path_name();
  int fd = MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
  MUST(bind(fd, (struct sockaddr *)&name, sizeof name)), MUST(listen(fd, 5));
  passed_add("UNIX listener", fd), passed_add("TCP listener", listen_tcp());
}

/* First is the client, and second the server. */
static void use_listener(const char *what, int client, const void *name, socklen_t length, int turn) {
  if (passed_causes(turn)) {
    CHECK(connect(client, name, length) == 0, "%s: connect: %s", what, strerror(errno));
    say(what, client, said("hello", turn));
  }
  close(client);
  if (!passed_takes(turn)) return;
  CHECK(poll(&(struct pollfd){.fd = passed(what), .events = POLLIN}, 1, 2000) == 1, "%s: nobody comes", what);
  int server = accept(passed(what), NULL, NULL);
  expect_text(what, server, said("hello", passed_caused(turn)));
  CHECK(accept(passed(what), NULL, NULL) == -1 && errno == EAGAIN, "%s: somebody else comes", what);
  close(server);
}

static void use_listeners(int turn) {
  struct sockaddr_un path = path_name();
  struct sockaddr_in name = name_of(passed("TCP listener"));
  use_listener("UNIX listener", MUST(socket(AF_UNIX, SOCK_STREAM, 0)), &path, sizeof path, turn);
  use_listener("TCP listener", MUST(socket(AF_INET, SOCK_STREAM, 0)), &name, sizeof name, turn);
}

/* The group's datagrams come to its members only. */
static struct sockaddr_in group_of(int fd) {
  struct sockaddr_in group = name_of(fd);
  group.sin_addr.s_addr = htonl(GROUP);
  return group;
}

static void make_udp(void) {
  int fd = MUST(bound(SOCK_DGRAM, 0, &(struct sockaddr_in){.sin_family = AF_INET})), lite = bound(SOCK_DGRAM, IPPROTO_UDPLITE, &loopback), none = 0;
  struct ip_mreqn membership = {.imr_multiaddr = {htonl(GROUP)}, .imr_address = loopback.sin_addr};
  MUST(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &membership, sizeof membership));
  MUST(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &none, sizeof none));
  MUST(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &membership, sizeof membership));
  struct sockaddr_in group = group_of(fd);
  passed_add("UDP", fd), send_to("UDP", fd, &group, said("UDP", 0), strlen(said("UDP", 0)));
  if (lite < 0) return st_missing("UDP-Lite: %s", strerror(errno));
  passed_add("UDP-Lite", lite);
}

/* What was said to the group waited in the queue. */
static void use_udp(int turn) {
  struct sockaddr_in group = group_of(passed("UDP"));
  expect_text("UDP", passed("UDP"), said("UDP", turn));
  send_to("UDP", passed("UDP"), &group, said("UDP", turn + 1), strlen(said("UDP", turn + 1)));
  if (passed_find("UDP-Lite") < 0) return;
  struct sockaddr_in name = name_of(passed("UDP-Lite"));
  if (passed_causes(turn)) send_to("UDP-Lite", passed("UDP-Lite"), &name, "lite", 4);
  if (passed_takes(turn)) expect_text("UDP-Lite", passed("UDP-Lite"), "lite");
}

static void make_raw(void) {
  passed_add("raw", MUST(socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, PROTOCOL + set_number())));
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
  if (fd < 0) return st_missing("ping sockets: %s (net.ipv4.ping_group_range)", strerror(errno));
  passed_add("ping", fd);
}

static void use_raw(int turn) {
  struct {
    struct icmphdr head;
    int turn;
  } echo = {{.type = ICMP_ECHO}, turn};
  if (passed_causes(turn)) {
    send_to("raw", passed("raw"), &loopback, &turn, sizeof turn);
    if (passed_find("ping") >= 0) send_to("ping", passed("ping"), &loopback, &echo, sizeof echo);
  }
  if (!passed_takes(turn)) return;
  int words[6] = {0}; /* the header of IP has five */
  WAIT_FOR(recv(passed("raw"), words, sizeof words, 0) == sizeof words);
  CHECK_EQ(words[5], passed_caused(turn));
  if (passed_find("ping") < 0) return;
  WAIT_FOR(recv(passed("ping"), &echo, sizeof echo, 0) == sizeof echo);
  CHECK_EQ(echo.head.type, ICMP_ECHOREPLY);
  CHECK_EQ(echo.turn, passed_caused(turn));
}

/* One socket with a ring, and one that is read; each has its own protocol. */
static struct sockaddr_ll link_name(int number) {
  struct sockaddr_ll name = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("lo"), .sll_halen = 6};
  name.sll_protocol = htons((uint16_t)(ETHER_TYPE + 2 * set_number() + number));
  return name;
}

static void make_packet(void) {
  int version = TPACKET_V2, fds[2];
  for (int i = 0; i < 2; i++) {
    struct sockaddr_ll name = link_name(i);
    fds[i] = MUST(socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    MUST(bind(fds[i], (struct sockaddr *)&name, sizeof name));
  }
  struct tpacket_req shape = {.tp_block_size = 4096, .tp_block_nr = RING / 4096, .tp_frame_size = FRAME, .tp_frame_nr = FRAMES};
  MUST(setsockopt(fds[1], SOL_PACKET, PACKET_VERSION, &version, sizeof version));
  MUST(setsockopt(fds[1], SOL_PACKET, PACKET_RX_RING, &shape, sizeof shape));
  passed_add_pair("packet", "ring", fds);
}

/* The frames that have come; they are given back. */
static int take_from_ring(char *ring, const char *wanted) {
  int found = 0;
  for (struct tpacket2_hdr *frame = (void *)ring; (char *)frame < ring + RING; frame = (void *)((char *)frame + FRAME)) {
    if (!(frame->tp_status & TP_STATUS_USER)) continue;
    found += frame->tp_snaplen == strlen(wanted) && memcmp((char *)frame + frame->tp_net, wanted, strlen(wanted)) == 0 ? 1 : 100;
    frame->tp_status = TP_STATUS_KERNEL;
  }
  return found;
}

static void use_packet(int turn) {
  static const char *const names[] = {"packet", "ring"};
  for (int i = 0; i < 2 && passed_causes(turn); i++) {
    struct sockaddr_ll name = link_name(i);
    char *text = said("frame", turn);
    CHECK_EQ(sendto(passed(names[i]), text, strlen(text), 0, (struct sockaddr *)&name, sizeof name), (ssize_t)strlen(text));
  }
  if (!passed_takes(turn)) return;
  expect_text("packet", passed("packet"), said("frame", passed_caused(turn)));
  char *ring = mmap(NULL, RING, PROT_READ | PROT_WRITE, MAP_SHARED, passed("ring"), 0);
  CHECK(ring != MAP_FAILED, "no ring: %s", strerror(errno));
  if (ring == MAP_FAILED) return;
  CHECK(poll(&(struct pollfd){.fd = passed("ring"), .events = POLLIN}, 1, 2000) == 1, "nothing comes to the ring");
  CHECK_EQ(take_from_ring(ring, said("frame", passed_caused(turn))), 1);
  munmap(ring, RING);
}

static void make_netlink(void) {
  int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE));
  struct sockaddr_nl name = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_TC};
  MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
  passed_add("netlink", fd);
}

/* First asks, second gets the answer. */
static void use_netlink(int turn) {
  struct {
    struct nlmsghdr head;
    struct ifinfomsg info;
  } request = {{sizeof request, RTM_GETLINK, NLM_F_REQUEST, (uint32_t)turn, 0}, {.ifi_index = (int)if_nametoindex("lo")}};
  struct sockaddr_nl name = {0};
  CHECK_EQ(getsockname(passed("netlink"), (struct sockaddr *)&name, &(socklen_t){sizeof name}), 0);
  CHECK_EQ(name.nl_groups, RTMGRP_TC);
  if (passed_causes(turn)) CHECK_EQ(send(passed("netlink"), &request, sizeof request, 0), (ssize_t)sizeof request);
  if (!passed_takes(turn)) return;
  struct nlmsghdr answer[1024] = {0};
  WAIT_FOR(recv(passed("netlink"), answer, sizeof answer, 0) > 0);
  CHECK_EQ(answer->nlmsg_type, RTM_NEWLINK);
  CHECK_EQ(answer->nlmsg_seq, passed_caused(turn));
}

static struct ifreq tun_request(void) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", path_of("st-pass"));
  return request;
}

static void make_tun(void) {
  struct ifreq request = tun_request();
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK), control = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  if (fd < 0) return st_missing("/dev/net/tun: %s", strerror(errno));
  MUST(ioctl(fd, TUNSETIFF, &request));
  request.ifr_flags = IFF_UP | IFF_NOARP;
  MUST(ioctl(control, SIOCSIFFLAGS, &request)), close(control);
  passed_add("tun", fd);
}

/* First sends by the device, second gets it from the descriptor. */
static void use_tun(int turn) {
  struct ifreq request = tun_request(), now = {0};
  CHECK_EQ(ioctl(passed("tun"), TUNGETIFF, &now), 0);
  CHECK(strcmp(now.ifr_name, request.ifr_name) == 0, "the TUN device is %s", now.ifr_name);
  if (passed_causes(turn)) {
    int fd = MUST(socket(AF_PACKET, SOCK_DGRAM, 0));
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETHER_TYPE), .sll_ifindex = (int)if_nametoindex(request.ifr_name)};
    CHECK_EQ(sendto(fd, said("tunnel", turn), 8, 0, (struct sockaddr *)&to, sizeof to), 8);
    close(fd);
  }
  if (passed_takes(turn)) expect_text("tun", passed("tun"), said("tunnel", passed_caused(turn)));
}

static const struct kind kinds[] = {
  {"pairs", make_pairs, use_pairs},    {"listeners", make_listeners, use_listeners}, {"udp", make_udp, use_udp}, {"raw and ping", make_raw, use_raw},
  {"packet", make_packet, use_packet}, {"netlink", make_netlink, use_netlink},       {"tun", make_tun, use_tun},
};

int main(int argc, char **argv) {
  st_init(argc, argv);
  return passed_main(kinds, sizeof kinds / sizeof kinds[0]);
}
