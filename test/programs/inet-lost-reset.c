/*
 * A program that waits for a peer outside of the tree, which resets the connection on SIGUSR1: its pid is in the file
 * "peer", and it makes the file "reset" when that is done. The next round, the program has to know.
 */
#include "selftest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static void write_pid(void) {
  FILE *file = fopen("peer", "w");
  if (file == NULL || fprintf(file, "%d\n", getpid()) < 0 || fclose(file) != 0) _exit(1);
}

static void peer(int listener) {
  sigset_t wanted;
  int got;
  sigemptyset(&wanted), sigaddset(&wanted, SIGUSR1);
  MUST(sigprocmask(SIG_BLOCK, &wanted, NULL));
  int fd = MUST(accept(listener, NULL, NULL));
  write_pid();
  sigwait(&wanted, &got);
  MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger)));
  close(fd);
  close(MUST(open("reset", O_CREAT | O_WRONLY, 0600)));
  _exit(0);
}

int main(int argc, char **argv) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t bytes = sizeof to;
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&to, bytes)), MUST(listen(listener, 1));
  MUST(getsockname(listener, (struct sockaddr *)&to, &bytes));
  if (MUST(fork()) == 0) {
    if (MUST(fork()) != 0) _exit(0);
    setsid(), alarm(ST_LIFE_SECONDS);
    peer(listener);
  }
  close(listener), wait(NULL);
  st_init(argc, argv);
  int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
  MUST(connect(fd, (struct sockaddr *)&to, bytes));
  WAIT_FOR(access("peer", R_OK) == 0);
  st_next();
  struct pollfd waiting = {.fd = fd, .events = POLLIN};
  char byte;
  int reuse = 0;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &(socklen_t){sizeof reuse}) == 0 && reuse == 1, "reuse: %d", reuse);
  CHECK(access("reset", R_OK) == 0, "the peer has not reset the connection");
  CHECK(poll(&waiting, 1, 5000) == 1, "nobody says that the connection is no more");
  CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == ECONNRESET, "recv: %s", strerror(errno));
  for (;;) st_next();
}
