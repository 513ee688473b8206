/* More than a thousand UNIX sockets, of which each has an option that its neighbours have not, or another peer. */
#include "selftest.h"
#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { PAIRS = 550 };
static int ends[PAIRS][2];

/* Options that are ints, with a value that is not the usual one. */
static const struct { int option, value, expected; } INTS[] = {
  {SO_SNDBUF, 20000, 40000}, {SO_RCVBUF, 30000, 60000},  {SO_PASSCRED, 1, 1},  {SO_PRIORITY, 3, 3},
  {SO_MARK, 77, 77},         {SO_RCVLOWAT, 5, 5},        {SO_KEEPALIVE, 1, 1}, {SO_BROADCAST, 1, 1},
  {SO_OOBINLINE, 1, 1},      {SO_DONTROUTE, 1, 1},       {SO_NO_CHECK, 1, 1},  {SO_REUSEADDR, 1, 1},
  {SO_TIMESTAMP, 1, 1},      {SO_TIMESTAMPNS, 1, 1},     {SO_PEEK_OFF, 0, 0},  {SO_PASSSEC, 1, 1},
  {SO_SELECT_ERR_QUEUE, 1, 1},
};
enum { KINDS = sizeof INTS / sizeof *INTS };

static struct timeval timeout = {3, 500000};
static struct linger linger = {1, 9};

static void set(int fd, int option, const void *value, socklen_t size) { MUST(setsockopt(fd, SOL_SOCKET, option, value, size)); }

static void change(int i, int fd) {
  struct sock_filter accept = {BPF_RET | BPF_K, 0, 0, 1000 + i};
  struct sock_fprog filter = {1, &accept};
  int kind = i % (KINDS + 5);
  if (kind < KINDS) set(fd, INTS[kind].option, &INTS[kind].value, 4);
  else if (kind == KINDS) set(fd, SO_RCVTIMEO, &timeout, sizeof timeout);
  else if (kind == KINDS + 1) set(fd, SO_SNDTIMEO, &timeout, sizeof timeout);
  else if (kind == KINDS + 2) set(fd, SO_LINGER, &linger, sizeof linger);
  else if (kind == KINDS + 3) set(fd, SO_ATTACH_FILTER, &filter, sizeof filter);
  /* The last kind has nothing of its own. */
}

static void check(int i, int fd) {
  int kind = i % (KINDS + 5);
  for (int k = 0; k < KINDS; k++) {
    int value = -1, usual = -1;
    socklen_t size = 4;
    if (getsockopt(fd, SOL_SOCKET, INTS[k].option, &value, &size)) continue;
    if (k == kind) CHECK_EQ(value, INTS[k].expected);
    else if (!getsockopt(ends[0][1], SOL_SOCKET, INTS[k].option, &usual, &size)) CHECK_EQ(value, usual);
  }
  struct timeval got;
  struct linger lingers;
  socklen_t size = sizeof got;
  MUST(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &got, &size));
  CHECK_EQ(got.tv_sec, kind == KINDS ? 3 : 0);
  MUST(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &got, &size));
  CHECK_EQ(got.tv_sec, kind == KINDS + 1 ? 3 : 0);
  size = sizeof lingers;
  MUST(getsockopt(fd, SOL_SOCKET, SO_LINGER, &lingers, &size));
  CHECK_EQ(lingers.l_onoff, kind == KINDS + 2);
  struct sock_filter filter[2];
  size = 2;
  MUST(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter, &size));
  CHECK_EQ(size, kind == KINDS + 3);
  if (size == 1) CHECK_EQ(filter->k, 1000 + i);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
  for (int i = 0; i < PAIRS; i++) {
    MUST(socketpair(AF_UNIX, i % 3 ? SOCK_STREAM : i % 2 ? SOCK_DGRAM : SOCK_SEQPACKET, 0, ends[i]));
    change(i, ends[i][0]);
    if (i % 5 == 0) CHECK(write(ends[i][1], &i, sizeof i) == sizeof i, "nothing was sent");
  }
  while (st_next()) {
    for (int i = 0; i < PAIRS; i++) {
      int got = -1;
      check(i, ends[i][0]);
      if (i) check(KINDS + 4, ends[i][1]);
      ssize_t size = recv(ends[i][0], &got, sizeof got, MSG_DONTWAIT);
      if (i % (KINDS + 5) == KINDS + 3) continue;
      CHECK_EQ(size, i % 5 ? -1 : (long)sizeof got);
      if (i % 5 == 0) CHECK_EQ(got, i);
      if (i % 5 == 0) CHECK(write(ends[i][1], &i, sizeof i) == sizeof i, "nothing was sent");
    }
  }
}
