/* Two pairs of sockets; an end of each is in flight to the other one, and was closed. */
#include "selftest.h"
#include <sys/socket.h>

static void send_descriptor(int to, int fd) {
  char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = {0}, byte = 'd';
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  MUST(sendmsg(to, &message, 0));
}

int main(int argc, char **argv) {
  int one[2], other[2];
  st_init(argc, argv);
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, one)), MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, other));
  send_descriptor(one[0], other[1]);
  send_descriptor(other[0], one[1]);
  close(other[1]);
  while (st_next()) {
    char byte = 0;
    CHECK(recv(one[1], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && byte == 'd', "the message is gone");
  }
}
