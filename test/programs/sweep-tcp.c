/*
 * Twenty TCP connections to a peer that is not in the tree, for killing criu in the middle of a dump. Each thread sends a
 * number, waits until the peer has sent it back, and counts in its own place of the shared file "counters".
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#define THREADS 20

static volatile uint64_t *counters;
static struct sockaddr_in name = {.sin_family = AF_INET};
static time_t ends_at;

/* Sends everything back. */
static void echo(int listener) {
  struct pollfd polled[THREADS];
  char bytes[64];
  for (int i = 0; i < THREADS; i++) polled[i] = (struct pollfd){.fd = MUST(accept(listener, NULL, NULL)), .events = POLLIN};
  while (poll(polled, THREADS, -1) > 0)
    for (int i = 0; i < THREADS; i++) {
      if (polled[i].revents == 0) continue;
      ssize_t got = recv(polled[i].fd, bytes, sizeof bytes, MSG_DONTWAIT);
      if (got <= 0 || send(polled[i].fd, bytes, (size_t)got, MSG_NOSIGNAL) != got) polled[i].fd = -1;
    }
}

/* Says in the file "lost" what has gone wrong. */
static void lose(const char *call, ssize_t result, uint64_t step, uint64_t answer) {
  int error = errno, fd = open("lost", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dprintf(fd, "%s: %zd (%s), step %lu, answer %lu", call, result, strerror(error), step, answer);
  abort();
}

static void *run(void *argument) {
  int index = (int)(intptr_t)argument, fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&name, sizeof name) != 0) abort();
  for (uint64_t step = 1;; step++) {
    uint64_t answer = 0;
    ssize_t sent = send(fd, &step, sizeof step, MSG_NOSIGNAL);
    if (sent != sizeof step) lose("send", sent, step, 0);
    ssize_t got = recv(fd, &answer, sizeof answer, MSG_WAITALL);
    if (got != sizeof answer || answer != step) lose("recv", got, step, answer);
    counters[index] = step;
    usleep(5000);
    if (time(NULL) > ends_at) _exit(94);
  }
  return NULL;
}

int main(int argc, char **argv) {
  socklen_t length = sizeof name;
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  MUST(bind(listener, (struct sockaddr *)&name, length)), MUST(listen(listener, THREADS));
  MUST(getsockname(listener, (struct sockaddr *)&name, &length));
  if (MUST(fork()) == 0) {
    if (MUST(fork()) != 0) _exit(0);
    setsid(), alarm(ST_LIFE_SECONDS);
    echo(listener);
    _exit(0);
  }
  close(listener), wait(NULL);
  st_init(argc, argv);
  ends_at = time(NULL) + ST_LIFE_SECONDS;
  int fd = MUST(open("counters", O_RDWR | O_CREAT | O_TRUNC, 0666));
  MUST(ftruncate(fd, THREADS * 8));
  counters = MUST_MAP(mmap(NULL, THREADS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  close(fd);
  for (int i = 1; i < THREADS; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void *)(intptr_t)i) != 0) st_die(__FILE__, __LINE__, "pthread_create");
  }
  char text[64];
  snprintf(text, sizeof text, "ready 0 %d", getpid());
  st_publish(text);
  run((void *)0);
}
