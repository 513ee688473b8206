/*
 * A network namespace of the program's own, as a picture in the words of ip, nft and iptables, which has to be the same in
 * each round: loopback device with addresses and settings, routes of several tables, rules, a connection. Arguments:
 * "more": routes of other tables, settings; "device": another device, with all that belongs to it; "filter": packet filters that let the connection pass because
 * they have seen it before.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* Routes for IPv6 to the same network by several devices are in the order in which these went up. */
static const char *const BASIC[] = {
    "ip -o -d link", "ip -o addr", "ip -4 route show table all", "ip -6 route show table all | sort", "ip rule", "ip -6 rule", "ip neigh show nud permanent", "ip neigh show proxy",
    "sysctl -a -e --pattern '^net\\.' 2>/dev/null | grep -v 'conntrack_count\\|stable_secret\\|fastopen_key'", NULL,
};
static const char *const FILTER[] = {"nft -s list ruleset", "iptables-legacy-save | grep '^-'", NULL};

/* What a command prints; the same buffer size for all. */
static char *output_of(const char *command) {
  char *text = calloc(1, 64 * 1024);
  FILE *pipe = popen(command, "r");
  if (pipe == NULL) st_die(__FILE_NAME__, __LINE__, command);
  size_t got = fread(text, 1, 64 * 1024 - 1, pipe);
  text[got] = 0;
  pclose(pipe);
  return text;
}

static void must_run(const char *command) {
  if (system(command) != 0) st_skip("cannot do: %s", command);
}

/* Says in which line two pictures differ. */
static void compare(const char *command, const char *before, const char *now) {
  while (*before && *before == *now) before++, now++;
  CHECK(*before == *now, "%s: was '%.60s', is '%.60s'", command, before, now);
}

static void set_up(void) {
  MUST(unshare(CLONE_NEWNET));
  must_run("ip link set lo up mtu 60000");
  must_run("ip addr add 10.77.0.1/24 dev lo && ip -6 addr add fd77::1/64 dev lo");
  must_run("ip route add blackhole 10.81.0.0/16 && ip route add 10.83.0.0/16 dev lo");
  must_run("ip -6 route add unreachable fd80::/64 && ip rule add from 10.77.0.2 table 100");
  must_run("sysctl -q -w net.ipv4.conf.lo.arp_ignore=2 net.ipv4.ip_forward=1"
           " net.ipv4.ping_group_range='5 7' net.unix.max_dgram_qlen=33 net.ipv4.conf.default.rp_filter=2");
}

/* What CRIU does not keep. */
static void set_up_more(void) {
  must_run("ip route add 10.82.0.0/16 dev lo table 100 metric 7 && ip -6 rule add from fd77::2 table 100");
  must_run("ip route add local 10.80.0.0/16 dev lo");
  must_run("sysctl -q -w net.ipv4.ip_unprivileged_port_start=80 net.ipv4.tcp_fin_timeout=11");
}

static void set_up_device(void) {
  /* Not every kernel has every kind. */
  must_run("for kind in dummy ifb; do"
           " ip link add st0 address 02:11:22:33:44:55 type $kind 2>/dev/null && exit; done; false");
  must_run("ip link set st0 mtu 1400 txqueuelen 77 && ip link set st0 alias 'a device'");
  must_run("sysctl -q -w net.ipv4.conf.st0.forwarding=0 net.ipv6.conf.st0.accept_ra=0");
  must_run("ip link set st0 up && ip addr add 10.78.0.1/24 dev st0 && ip -6 addr add fd78::1/64 dev st0 nodad");
  must_run("ip addr add 10.78.0.2/24 dev st0 label st0:two");
  must_run("ip route add 10.79.0.0/16 via 10.78.0.9 && ip route add default via 10.79.0.1 table 100 onlink dev st0");
  must_run("ip -6 route add fd79::/64 via fd78::9");
  must_run("ip neigh add 10.78.0.9 lladdr 02:00:00:00:00:09 dev st0 && ip neigh add proxy 10.78.0.8 dev st0");
  must_run("ip link add st1 mtu 1300 type veth peer name st2 address 02:11:22:33:44:66 && ip link set st2 up");
  must_run("ip -6 addr add fd81::1/64 dev st1 && ip link set st1 up");
  must_run("sleep 0.5; while ip -6 addr show tentative | grep -q .; do sleep 0.1; done");
}

static void set_up_filter(void) {
  must_run("iptables-legacy -A INPUT -i lo -p tcp -m state --state NEW,ESTABLISHED -j ACCEPT");
  must_run("nft 'add table inet st; add set inet st ports { type inet_service; elements = { 22, 80 } }'");
  must_run("nft 'add chain inet st in { type filter hook input priority 5; }'");
  must_run("nft 'add rule inet st in ct state new,established counter accept'");
  must_run("nft 'add rule inet st in tcp dport @ports drop'");
  must_run("nft 'add rule inet st in counter drop'");
}

static int connection[2];

static void set_up_connection(void) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(0x0a4d0001)}};
  socklen_t bytes = sizeof name;
  int listening = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(bind(listening, (struct sockaddr *)&name, bytes));
  MUST(listen(listening, 5));
  MUST(getsockname(listening, (struct sockaddr *)&name, &bytes));
  connection[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(connection[0], (struct sockaddr *)&name, bytes));
  connection[1] = MUST(accept(listening, NULL, NULL));
}

static void talk(void) {
  for (int i = 0; i < 2; i++) {
    char byte = 0;
    struct timeval patience = {.tv_sec = 5};
    setsockopt(connection[!i], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    CHECK_EQ(send(connection[i], "x", 1, 0), 1);
    CHECK_EQ(recv(connection[!i], &byte, 1, 0), 1);
    CHECK_EQ(byte, 'x');
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int has_filter = 0;
  set_up();
  for (int i = 2; i < argc; i++) {
    if (strcmp(argv[i], "more") == 0) set_up_more();
    if (strcmp(argv[i], "device") == 0) set_up_device();
    if (strcmp(argv[i], "filter") == 0) has_filter = 1;
  }
  if (has_filter) set_up_filter();
  set_up_connection();
  talk();
  const char *commands[16];
  char *before[16];
  int count = 0;
  for (int i = 0; BASIC[i]; i++) commands[count++] = BASIC[i];
  for (int i = 0; has_filter && FILTER[i]; i++) commands[count++] = FILTER[i];
  for (int i = 0; i < count; i++) before[i] = output_of(commands[i]);
  for (int round = 1; st_next(); round++) {
    talk();
    for (int i = 0; i < count; i++) {
      char *now = output_of(commands[i]);
      compare(commands[i], before[i], now);
      free(now);
    }
    char command[100];
    snprintf(command, sizeof command, "ip addr add 10.90.%d.1/24 dev lo", round);
    CHECK_EQ(system(command), 0);
    for (int i = 0; i < count; i++) free(before[i]), before[i] = output_of(commands[i]);
  }
  return 0;
}
