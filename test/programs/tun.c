/*
 * Descriptors of /dev/net/tun: one that is not attached, a TAP device with an owner, a hardware address and an MTU, and a
 * TUN device with two queues, one of which is detached. A child has the first queue too. With the argument "persistent"
 * the TAP device stays when the program is gone, with "address" it has an address. All in a network namespace of the test.
 */
#include "selftest.h"

#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <netinet/in.h>

static int control;

static struct ifreq request(const char *name, int flags) {
  struct ifreq ifr;
  memset(&ifr, 0, sizeof ifr);
  snprintf(ifr.ifr_name, sizeof ifr.ifr_name, "%s", name);
  ifr.ifr_flags = (short)flags;
  return ifr;
}

static int attach(const char *name, int flags) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (fd < 0) st_skip("/dev/net/tun: %s", strerror(errno));
  struct ifreq ifr = request(name, flags);
  if (ioctl(fd, TUNSETIFF, &ifr) < 0) st_skip("TUNSETIFF: %s", strerror(errno));
  return fd;
}

static int index_of(const char *name) {
  struct ifreq ifr = request(name, 0);
  CHECK_EQ(ioctl(control, SIOCGIFINDEX, &ifr), 0);
  return ifr.ifr_ifindex;
}

static void set_up_tap(int fd, int has_address) {
  struct ifreq ifr = request("st-tap", 0);
  ifr.ifr_hwaddr.sa_family = 1;
  memcpy(ifr.ifr_hwaddr.sa_data, "\x02\x11\x22\x33\x44\x55", 6);
  MUST(ioctl(control, SIOCSIFHWADDR, &ifr));
  ifr.ifr_mtu = 1234;
  MUST(ioctl(control, SIOCSIFMTU, &ifr));
  ifr.ifr_flags = IFF_UP;
  MUST(ioctl(control, SIOCSIFFLAGS, &ifr));
  MUST(ioctl(fd, TUNSETOWNER, 12));
  int bytes = 54321;
  MUST(ioctl(fd, TUNSETSNDBUF, &bytes));
  if (!has_address) return;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a010203)};
  memcpy(&ifr.ifr_addr, &address, sizeof address);
  MUST(ioctl(control, SIOCSIFADDR, &ifr));
}

static void check_attached(const char *name, int fd, int flags) {
  struct ifreq ifr = request("", 0);
  CHECK_EQ(ioctl(fd, TUNGETIFF, &ifr), 0);
  CHECK(strcmp(ifr.ifr_name, name) == 0, "attached to '%s' instead of %s", ifr.ifr_name, name);
  CHECK_EQ(ifr.ifr_flags & flags, flags);
}

static void check_tap(int fd, int index) {
  struct ifreq ifr = request("st-tap", 0);
  CHECK_EQ(index_of("st-tap"), index);
  CHECK_EQ(ioctl(control, SIOCGIFHWADDR, &ifr), 0);
  CHECK(memcmp(ifr.ifr_hwaddr.sa_data, "\x02\x11\x22\x33\x44\x55", 6) == 0, "the hardware address is another one");
  CHECK_EQ(ioctl(control, SIOCGIFMTU, &ifr), 0);
  CHECK_EQ(ifr.ifr_mtu, 1234);
  CHECK_EQ(ioctl(control, SIOCGIFFLAGS, &ifr), 0);
  CHECK_EQ(ifr.ifr_flags & IFF_UP, IFF_UP);
  int bytes = 0;
  CHECK_EQ(ioctl(fd, TUNGETSNDBUF, &bytes), 0);
  CHECK_EQ(bytes, 54321);
  char frame[60] = {0};
  CHECK_EQ(write(fd, frame, sizeof frame), (ssize_t)sizeof frame);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  const char *what = argc > 2 ? argv[2] : "";
  control = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  int plain = MUST(open("/dev/net/tun", O_RDWR));
  int tap = attach("st-tap", IFF_TAP | IFF_NO_PI);
  set_up_tap(tap, strcmp(what, "address") == 0);
  if (strcmp(what, "persistent") == 0) MUST(ioctl(tap, TUNSETPERSIST, 1));
  int queues[2];
  for (int i = 0; i < 2; i++) queues[i] = attach("st-tun", IFF_TUN | IFF_MULTI_QUEUE);
  struct ifreq detach = request("", IFF_DETACH_QUEUE);
  MUST(ioctl(queues[1], TUNSETQUEUE, &detach));
  int index = index_of("st-tap");
  if (MUST(fork()) == 0) {
    st_child("child");
    while (st_next()) check_attached("st-tun", queues[0], IFF_TUN | IFF_MULTI_QUEUE);
    return 0;
  }
  st_wait_child("child");
  while (st_next()) {
    struct ifreq ifr = request("", 0);
    CHECK_EQ(ioctl(plain, TUNGETIFF, &ifr), -1);
    CHECK_EQ(errno, EBADFD);
    check_attached("st-tap", tap, IFF_TAP | IFF_NO_PI);
    check_tap(tap, index);
    check_attached("st-tun", queues[0], IFF_TUN | IFF_MULTI_QUEUE);
    check_attached("st-tun", queues[1], IFF_DETACH_QUEUE);
    CHECK_EQ(fcntl(tap, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  }
}
