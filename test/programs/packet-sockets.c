/*
 * Packet sockets on the loopback device: bound, with memberships, in a fanout group, with a mapped ring, shared with a
 * child. Netlink sockets: with a port and groups, groups only, connected. Each does its work again in every round.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static int port, sender, lo;
static struct sockaddr_in target = {.sin_family = AF_INET};

/* A packet socket that sees UDP packets to the port, of loopback only. */
static int packet_socket(int type) {
  int fd = MUST(socket(AF_PACKET, type, 0));
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (unsigned)SKF_NET_OFF + 9),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 3),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (unsigned)SKF_NET_OFF + 22),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)port, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  MUST(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
  return fd;
}

static void bind_packet(int fd, int protocol) {
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)protocol), .sll_ifindex = lo};
  MUST(bind(fd, (struct sockaddr *)&to, sizeof to));
}

static int comes(int fd) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  return poll(&p, 1, 1000);
}

static void drain(int fd) {
  char junk[256];
  while (recv(fd, junk, sizeof junk, MSG_DONTWAIT) >= 0) continue;
}

static void say(const char *text) {
  CHECK_EQ(sendto(sender, text, strlen(text), 0, (struct sockaddr *)&target, sizeof target), (long)strlen(text));
}

static void expect_packet(int fd, const char *text, int header, const char *who) {
  char bytes[256] = "";
  CHECK(comes(fd) == 1, "%s: nothing comes", who);
  ssize_t got = recv(fd, bytes, sizeof bytes - 1, MSG_DONTWAIT);
  CHECK(got == header + 28 + (ssize_t)strlen(text) && strcmp(bytes + header + 28, text) == 0, "%s: got %zd bytes", who, got);
  drain(fd);
}

static int in_ring(uint8_t *ring, const char *text) {
  for (int i = 0; i < 8; i++) {
    struct tpacket2_hdr *frame = (void *)(ring + i * 2048);
    int found = (frame->tp_status & TP_STATUS_USER) && memmem(frame, 2048, text, strlen(text)) != NULL;
    frame->tp_status = TP_STATUS_KERNEL;
    if (found) return 1;
  }
  return 0;
}

static struct sockaddr_nl netlink_name(int fd) {
  struct sockaddr_nl name = {0};
  MUST(getsockname(fd, (struct sockaddr *)&name, &(socklen_t){sizeof name}));
  return name;
}

static uint64_t groups_of(int fd) {
  uint64_t mask = 0;
  MUST(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, &mask, &(socklen_t){sizeof mask}));
  return mask;
}

/* Asks for the loopback device; the answer goes to the port. What the kernel tells members of groups may come before it. */
static void expect_answer(int fd, const char *who) {
  struct {
    struct nlmsghdr head;
    struct ifinfomsg info;
  } request = {.head = {sizeof request, RTM_GETLINK, NLM_F_REQUEST, 7, 0}, .info = {.ifi_index = lo}};
  char answer[8192];
  struct nlmsghdr *head = (void *)answer;
  ssize_t got;
  CHECK_EQ(send(fd, &request, sizeof request, 0), (long)sizeof request);
  do {
    CHECK(comes(fd) == 1, "%s: no answer", who);
    got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
  } while (got > 16 && head->nlmsg_seq != request.head.nlmsg_seq);
  CHECK(got > 16 && head->nlmsg_type == RTM_NEWLINK && head->nlmsg_pid == netlink_name(fd).nl_pid, "%s: wrong answer", who);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  lo = (int)if_nametoindex("lo");
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int receiver = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  MUST(bind(receiver, (struct sockaddr *)&name, sizeof name));
  MUST(getsockname(receiver, (struct sockaddr *)&name, &(socklen_t){sizeof name}));
  target = name, port = ntohs(name.sin_port);
  sender = MUST(socket(AF_INET, SOCK_DGRAM, 0));

  int raw = packet_socket(SOCK_RAW), cooked = packet_socket(SOCK_DGRAM | SOCK_NONBLOCK), unbound = packet_socket(SOCK_RAW);
  int one = 1, version = TPACKET_V2, fanout = getpid() & 0xffff;
  MUST(setsockopt(raw, SOL_PACKET, PACKET_AUXDATA, &one, sizeof one));
  MUST(setsockopt(raw, SOL_PACKET, 23 /* PACKET_IGNORE_OUTGOING */, &one, sizeof one));
  bind_packet(raw, ETH_P_IP), bind_packet(cooked, ETH_P_ALL);
  MUST(setsockopt(raw, SOL_PACKET, PACKET_FANOUT, &fanout, sizeof fanout));
  struct packet_mreq promiscuous = {.mr_ifindex = lo, .mr_type = PACKET_MR_PROMISC};
  for (int i = 0; i < 2; i++) MUST(setsockopt(cooked, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous));
  int ring_socket = packet_socket(SOCK_RAW);
  struct tpacket_req shape = {.tp_block_size = 4096, .tp_block_nr = 4, .tp_frame_size = 2048, .tp_frame_nr = 8};
  MUST(setsockopt(ring_socket, SOL_PACKET, PACKET_VERSION, &version, sizeof version));
  MUST(setsockopt(ring_socket, SOL_PACKET, PACKET_RX_RING, &shape, sizeof shape));
  // The test knows this address.
  uint8_t *ring = MUST_MAP(mmap((void *)0x10000000, 4 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring_socket, 0));
  bind_packet(ring_socket, ETH_P_IP);

  int route = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)), high = 33;
  int dgram = MUST(socket(AF_NETLINK, SOCK_DGRAM, NETLINK_ROUTE)), groups_only = MUST(socket(AF_NETLINK, SOCK_RAW, 15));
  struct sockaddr_nl with_groups = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_RULE};
  MUST(bind(route, (struct sockaddr *)&with_groups, sizeof with_groups));
  MUST(setsockopt(route, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &high, sizeof high));
  MUST(setsockopt(route, SOL_NETLINK, 11 /* NETLINK_EXT_ACK */, &one, sizeof one));
  MUST(setsockopt(groups_only, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &one, sizeof one));
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  MUST(connect(dgram, (struct sockaddr *)&kernel, sizeof kernel));
  struct sockaddr_nl route_name = netlink_name(route);
  uint64_t route_groups = groups_of(route);
  CHECK_EQ(route_groups, (1ULL << 32) | RTMGRP_LINK | RTMGRP_IPV4_RULE);

  int to_child[2];
  MUST(pipe(to_child));
  if (MUST(fork()) == 0) {
    st_child("child");
    // The child has only one packet socket, which the parent has opened; the parent's ring is in its memory too.
    close(raw), close(unbound), close(to_child[1]);
    while (st_next()) {
      char byte = 0;
      CHECK_EQ(read(to_child[0], &byte, 1), 1);
      CHECK(comes(cooked) == 1, "nothing comes to the child");
      drain(cooked);
    }
  }
  st_wait_child("child");
  close(cooked), close(to_child[0]);

  for (int round = 0; st_next(); round++) {
    drain(raw), in_ring(ring, "none");
    char text[32];
    snprintf(text, sizeof text, "hello %d", round);
    say(text);
    expect_packet(raw, text, 14, "raw");
    CHECK_EQ(write(to_child[1], "x", 1), 1);
    WAIT_FOR(in_ring(ring, text));
    int value = 0;
    MUST(getsockopt(raw, SOL_PACKET, PACKET_AUXDATA, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, 1);
    MUST(getsockopt(raw, SOL_PACKET, 23, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, 1);
    MUST(getsockopt(raw, SOL_PACKET, PACKET_FANOUT, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, fanout);
    struct sockaddr_ll now = {0};
    MUST(getsockname(raw, (struct sockaddr *)&now, &(socklen_t){sizeof now}));
    CHECK(now.sll_protocol == htons(ETH_P_IP) && now.sll_ifindex == lo, "raw: bound to something else");
    MUST(getsockname(unbound, (struct sockaddr *)&now, &(socklen_t){sizeof now}));
    CHECK(now.sll_protocol == 0 && now.sll_ifindex == 0, "the unbound one is bound");
    CHECK(recv(unbound, text, sizeof text, MSG_DONTWAIT) == -1 && errno == EAGAIN, "the unbound one has received");

    struct sockaddr_nl route_now = netlink_name(route);
    CHECK(memcmp(&route_now, &route_name, sizeof route_now) == 0, "the port or the groups differ");
    CHECK_EQ(groups_of(route), route_groups);
    CHECK_EQ(groups_of(groups_only), 1);
    CHECK_EQ(fcntl(route, F_GETFD), FD_CLOEXEC);
    MUST(getsockopt(route, SOL_NETLINK, 11, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, 1);
    MUST(getsockopt(dgram, SOL_SOCKET, SO_TYPE, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, SOCK_DGRAM);
    expect_answer(route, "route"), expect_answer(dgram, "datagram");
    while (recv(receiver, text, sizeof text, MSG_DONTWAIT) > 0) continue;
  }
}
