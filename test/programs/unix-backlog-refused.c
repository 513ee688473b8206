/*
 * A connection that nobody has accepted, with something that cannot be kept: "dead", "rights" or "urgent"; or accepted,
 * with an urgent byte: "accepted".
 */
#include "selftest.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static void send_rights(int to, int fd) {
  char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = {0};
  struct iovec part = {"passed", 6};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(c), &fd, sizeof fd);
  MUST(sendmsg(to, &message, 0));
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  const char *what = argv[2];
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1);
  bytes += (socklen_t)snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "criu-refused-%d", getpid());
  int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&to, bytes));
  MUST(setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
  MUST(listen(listener, 5));
  if (strcmp(what, "dead") == 0) {
    if (MUST(fork()) == 0) {
      MUST(connect(client, (struct sockaddr *)&to, bytes));
      MUST(send(client, "passed", 6, 0));
      _exit(0);
    }
    MUST(wait(NULL));
    close(client);
  } else {
    MUST(connect(client, (struct sockaddr *)&to, bytes));
    if (strcmp(what, "rights") == 0) send_rights(client, listener);
    else if (send(client, "passed", 6, MSG_OOB) == -1) st_skip("MSG_OOB: %s", strerror(errno));
  }
  int is_accepted = strcmp(what, "accepted") == 0;
  int server = is_accepted ? MUST(accept(listener, NULL, NULL)) : -1;
  if (is_accepted) {
    MUST(setsockopt(server, SOL_SOCKET, SO_PASSCRED, &(int){0}, sizeof(int)));
    MUST(send(client, " more", 5, 0));
  }
  st_next();
  if (!is_accepted) server = MUST(accept(listener, NULL, NULL));
  char got[8] = "";
  // An urgent byte is not among the others.
  size_t wanted = is_accepted || strcmp(what, "urgent") == 0 ? 5 : 6;
  CHECK_EQ(recv(server, got, sizeof got, MSG_DONTWAIT), (ssize_t)wanted);
  CHECK(memcmp(got, "passed", wanted) == 0, "got \"%s\"", got);
  st_next();
}
