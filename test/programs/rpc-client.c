/*
 * A client of the criu service: in each round it sends the request that is in the file REQUEST to the socket SOCKET and
 * keeps the answer in STATUS.answerN. A request to dump itself stops it there, and it is restored into waiting for the
 * answer. With UID it is a client that is not root.
 *
 * usage: STATUS SOCKET REQUEST [UID]
 */
#include "selftest.h"
#include <grp.h>
#include <sys/socket.h>
#include <sys/un.h>

static char request[4096];
static char answer[4096];

static ssize_t read_request(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = read(fd, request, sizeof request);
  close(fd);
  return got;
}

static void keep_answer(ssize_t bytes) {
  char path[PATH_MAX + 32];
  snprintf(path, sizeof path, "%s.answer%d", st_base, st_round);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  CHECK_EQ(write(fd, answer, bytes), bytes);
  close(fd);
}

static void become(int id) {
  gid_t group = id;
  MUST(setgroups(1, &group));
  MUST(setresgid(id, id, id));
  MUST(setresuid(id, id, id));
  /* A change of ids has taken away what lets others of the same user look at it. */
  MUST(prctl(PR_SET_DUMPABLE, 1));
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};

  st_init(argc, argv);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[2]);
  if (argc > 4) become(atoi(argv[4]));
  while (st_next()) {
    ssize_t bytes = read_request(argv[3]);
    int sk = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(sk, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_EQ(send(sk, request, bytes, 0), bytes);
    ssize_t got = recv(sk, answer, sizeof answer, 0);
    CHECK(got > 0, "no answer: %s", strerror(errno));
    if (got > 0) keep_answer(got);
    CHECK_EQ(recv(sk, answer, sizeof answer, 0), 0);
    close(sk);
  }
}
