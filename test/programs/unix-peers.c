/*
 * Whom UNIX sockets show as their peer (SO_PEERCRED, SO_PEERGROUPS): the task that made the pair, also when only others
 * have it now; the one that listens and connects; its supplementary groups at that time, many of them too. With "mixed"
 * two tasks have connected to one listening socket.
 */
#include "selftest.h"
#include <grp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MANY 100

static void expect_peer(int fd, pid_t pid, const gid_t *groups, int count, const char *who) {
  struct ucred creds = {0};
  gid_t got[MANY + 1];
  socklen_t bytes = sizeof got;
  MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &(socklen_t){sizeof creds}));
  CHECK(creds.pid == pid, "%s: the peer is %d, wanted %d", who, creds.pid, pid);
  MUST(getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, got, &bytes));
  CHECK(bytes == (socklen_t)count * 4 && memcmp(got, groups, bytes) == 0, "%s: %u groups, wanted %d", who, bytes / 4, count);
}

static socklen_t address(struct sockaddr_un *to, const char *name, pid_t pid) {
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)snprintf(to->sun_path + 1, sizeof to->sun_path - 1, "criu-%s-%d", name, pid);
}

static int mixed(int listener, struct sockaddr_un *to, socklen_t bytes) {
  int own = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(connect(own, (struct sockaddr *)to, bytes));
  if (MUST(fork()) == 0) {
    st_child("child");
    int fd = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)to, bytes));
    while (st_next()) continue;
  }
  st_wait_child("child");
  int first = MUST(accept(listener, NULL, NULL)), second = MUST(accept(listener, NULL, NULL));
  (void)first, (void)second;
  while (st_next()) continue;
  return 0;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  pid_t parent = getpid();
  gid_t few[2] = {5, 77}, many[MANY];
  for (int i = 0; i < MANY; i++) many[i] = (gid_t)(1000 + 2 * i);
  int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), given[2], kept[2], of_many[2], to_parent[2];
  struct sockaddr_un to;
  socklen_t bytes = address(&to, "peers", parent);
  MUST(bind(listener, (struct sockaddr *)&to, bytes));
  if (argc > 2) {
    MUST(listen(listener, 5));
    return mixed(listener, &to, bytes);
  }
  MUST(setgroups(2, few));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, given)), MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, kept));
  MUST(setgroups(MANY, many));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, of_many)), MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, to_parent));
  MUST(setgroups(0, NULL));
  pid_t child = MUST(fork());
  if (child == 0) {
    st_child("child");
    close(kept[0]), close(kept[1]), close(of_many[0]), close(of_many[1]);
    int own[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, own));
    // The parent has the listening socket as well, and both ends of the pair.
    MUST(setgroups(1, few));
    MUST(listen(listener, 5));
    int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(client, (struct sockaddr *)&to, bytes));
    int server = MUST(accept(listener, NULL, NULL)), waiting = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    MUST(connect(waiting, (struct sockaddr *)&to, bytes));
    char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8))) = {0};
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(c), own, sizeof own);
    MUST(sendmsg(to_parent[0], &message, 0));
    while (st_next()) {
      expect_peer(given[0], parent, few, 2, "given"), expect_peer(given[1], parent, few, 2, "given");
      expect_peer(own[0], getpid(), NULL, 0, "own"), expect_peer(own[1], getpid(), NULL, 0, "own");
      expect_peer(client, getpid(), few, 1, "client"), expect_peer(server, getpid(), few, 1, "server");
      int accepted = MUST(accept(listener, NULL, NULL));
      expect_peer(accepted, getpid(), few, 1, "accepted");
      close(accepted), close(waiting);
      waiting = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
      MUST(connect(waiting, (struct sockaddr *)&to, bytes));
    }
  }
  st_wait_child("child");
  close(given[0]), close(given[1]);
  int own[2] = {-1, -1};
  char control[256] __attribute__((aligned(8))), byte;
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  MUST(recvmsg(to_parent[1], &message, 0));
  memcpy(own, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof own);
  while (st_next()) {
    expect_peer(kept[0], parent, few, 2, "kept"), expect_peer(of_many[1], parent, many, MANY, "of many");
    expect_peer(own[0], child, NULL, 0, "own of the child"), expect_peer(own[1], child, NULL, 0, "own of the child");
    expect_peer(listener, child, few, 1, "listener");
  }
}
