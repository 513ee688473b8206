/*
 * Descriptors on their way from one task to another (SCM_RIGHTS), which nobody else has: TCP connections to a peer outside
 * of the tree and to one inside, a TCP listener, UDP, a UNIX stream, a pipe and an eventfd, with what waits in them. Parent
 * and child send all of them to each other by turns; who receives them goes on with them.
 */
#include "selftest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { OUTSIDE, INSIDE, STREAM, PIPE, UDP, LISTENER, EVENT, COUNT, FIRST_PART = 4 };
static const char *const names[COUNT] = {"TCP, outside", "TCP, inside", "UNIX stream", "pipe", "UDP", "TCP listener", "eventfd"};

/* What is on its way; and the other ends, which both tasks have. */
static int fds[COUNT], others[COUNT], lines[2][2];
static struct sockaddr_in listener_name;

static int inet(int type, struct sockaddr_in *name) {
  int fd = MUST(socket(AF_INET, type, 0));
  *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(fd, (struct sockaddr *)name, sizeof *name));
  if (type == SOCK_STREAM) MUST(listen(fd, 5));
  MUST(getsockname(fd, (struct sockaddr *)name, &(socklen_t){sizeof *name}));
  return fd;
}

static int connected(int type, struct sockaddr_in to) {
  int fd = MUST(socket(AF_INET, type, 0));
  MUST(connect(fd, (struct sockaddr *)&to, sizeof to));
  return fd;
}

/* A process outside of the tree that sends back what it gets from its one connection. */
static struct sockaddr_in start_peer(void) {
  struct sockaddr_in name;
  int listener = inet(SOCK_STREAM, &name);
  if (MUST(fork()) == 0) {
    char bytes[100];
    if (MUST(fork()) != 0) _exit(0);
    setsid(), alarm(ST_LIFE_SECONDS);
    int fd = accept(listener, NULL, NULL);
    for (ssize_t got; (got = recv(fd, bytes, sizeof bytes, 0)) > 0;) send(fd, bytes, (size_t)got, MSG_NOSIGNAL);
    _exit(0);
  }
  close(listener), wait(NULL);
  return name;
}

static void set_up(struct sockaddr_in peer) {
  struct sockaddr_in name;
  int pair[2], yes = 1;
  fds[OUTSIDE] = connected(SOCK_STREAM, peer), others[OUTSIDE] = -1;
  fds[LISTENER] = inet(SOCK_STREAM, &listener_name), others[LISTENER] = -1;
  others[INSIDE] = connected(SOCK_STREAM, listener_name), fds[INSIDE] = MUST(accept(fds[LISTENER], NULL, NULL));
  MUST(setsockopt(fds[INSIDE], SOL_TCP, TCP_NODELAY, &yes, sizeof yes));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)), fds[STREAM] = pair[0], others[STREAM] = pair[1];
  MUST(pipe(pair)), fds[PIPE] = pair[0], others[PIPE] = pair[1];
  fds[UDP] = inet(SOCK_DGRAM, &name), others[UDP] = connected(SOCK_DGRAM, name);
  fds[EVENT] = MUST(eventfd(0, EFD_NONBLOCK)), others[EVENT] = -1;
}

static void send_part(int line, int from, int to) {
  char control[CMSG_SPACE(sizeof fds)] __attribute__((aligned(8))) = {0}, byte = (char)from;
  size_t bytes = (size_t)(to - from) * sizeof(int);
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(bytes)};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(bytes);
  memcpy(CMSG_DATA(rights), &fds[from], bytes);
  CHECK(sendmsg(line, &message, 0) == 1, "sendmsg: %s", strerror(errno));
  for (int i = from; i < to; i++) close(fds[i]);
}

static void receive_part(int line, int from, int to) {
  char control[CMSG_SPACE(sizeof fds)] __attribute__((aligned(8))) = {0}, byte = 0;
  size_t bytes = (size_t)(to - from) * sizeof(int);
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  for (int i = from; i < to; i++) fds[i] = -1;
  CHECK(recvmsg(line, &message, MSG_DONTWAIT) == 1 && byte == (char)from, "nothing is on its way: %s", strerror(errno));
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  CHECK(rights != NULL && rights->cmsg_len == CMSG_LEN(bytes), "not %d descriptors are on their way", to - from);
  if (rights != NULL && rights->cmsg_len == CMSG_LEN(bytes)) memcpy(&fds[from], CMSG_DATA(rights), bytes);
}

static void expect(int fd, int which, const char *wanted, const char *what) {
  char got[50] = "";
  struct pollfd p = {.fd = fd, .events = POLLIN};
  ssize_t bytes = poll(&p, 1, 5000) == 1 ? read(fd, got, sizeof got - 1) : -1;
  CHECK(bytes >= 0 && strcmp(got, wanted) == 0, "%s: %s is \"%s\" instead of \"%s\"", names[which], what, got, wanted);
}

static void say(int fd, int which, const char *text) {
  CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: write: %s", names[which], strerror(errno));
}

/* Puts something into each, and sends them away. */
static void pass_on(int line, int round) {
  char text[20];
  eventfd_t count = 100 + (eventfd_t)round;
  snprintf(text, sizeof text, "waits %d", round);
  for (int i = 0; i < COUNT; i++)
    if (others[i] >= 0) say(others[i], i, text);
  CHECK(eventfd_write(fds[EVENT], count) == 0, "eventfd: %s", strerror(errno));
  send_part(line, 0, FIRST_PART), send_part(line, FIRST_PART, COUNT);
}

static void take_over(int line, int round) {
  char text[20];
  eventfd_t count = 0;
  receive_part(line, 0, FIRST_PART), receive_part(line, FIRST_PART, COUNT);
  snprintf(text, sizeof text, "waits %d", round);
  for (int i = 0; i < COUNT; i++)
    if (others[i] >= 0) expect(fds[i], i, text, "what waited");
  CHECK(eventfd_read(fds[EVENT], &count) == 0 && count == 100 + (eventfd_t)round, "eventfd: %d", (int)count);
  say(fds[OUTSIDE], OUTSIDE, "echo"), expect(fds[OUTSIDE], OUTSIDE, "echo", "the answer");
  for (int i = INSIDE; i <= STREAM; i++) say(fds[i], i, "to the other"), expect(others[i], i, "to the other", "what was sent");
  int yes = 0, client = connected(SOCK_STREAM, listener_name), server = accept(fds[LISTENER], NULL, NULL);
  getsockopt(fds[INSIDE], SOL_TCP, TCP_NODELAY, &yes, &(socklen_t){sizeof yes});
  CHECK(yes == 1, "TCP, inside: TCP_NODELAY is lost");
  say(client, LISTENER, "new"), expect(server, LISTENER, "new", "a new connection");
  close(client), close(server);
}

/* The child receives in rounds 1, 3 and so on. */
static void work(int is_child) {
  for (int round = 1; st_next(); round++) {
    if ((round % 2 == 1) != is_child) continue;
    take_over(lines[is_child][1], round);
    pass_on(lines[!is_child][0], round + 1);
  }
}

int main(int argc, char **argv) {
  struct sockaddr_in peer = start_peer();
  st_init(argc, argv);
  for (int i = 0; i < 2; i++) MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, lines[i]));
  set_up(peer);
  int pid = MUST(fork());
  if (pid == 0) {
    for (int i = 0; i < COUNT; i++) close(fds[i]);
    st_child("child"), work(1);
  }
  st_wait_child("child");
  pass_on(lines[1][0], 1);
  work(0);
}
