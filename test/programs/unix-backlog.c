/*
 * Connections that nobody has accepted yet: with data of any size, half-closed, closed already, empty, of another user, of
 * a task that is a child, of a client with a name; stream and seqpacket; in order. The listening socket asks for
 * credentials, or does not.
 */
#include "selftest.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENTS 7
#define BIG 150000

static char big[BIG];

static socklen_t address(struct sockaddr_un *to, const char *kind, const char *what) {
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  int bytes = snprintf(to->sun_path + 1, sizeof to->sun_path - 1, "criu-%s-%s-%d", kind, what, getpid());
  return (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 + (socklen_t)bytes;
}

struct server {
  const char *kind;
  int type, listener, clients[CLIENTS];
  int inherits; /* whether what is accepted asks for credentials at once */
};

static int client(struct server *s, const char *name) {
  struct sockaddr_un to;
  int fd = MUST(socket(AF_UNIX, s->type, 0));
  if (name != NULL) MUST(bind(fd, (struct sockaddr *)&to, address(&to, s->kind, name)));
  MUST(connect(fd, (struct sockaddr *)&to, address(&to, s->kind, "listener")));
  return fd;
}

static void fill(struct server *s, int round) {
  // 0: nothing. 1: some messages. 2: closed already, with a name. 3: many bytes, half-closed. 4: another user.
  // 5: closed without anything. 6: some bytes, and more than fit beside them.
  int *c = s->clients;
  c[0] = client(s, NULL);
  c[1] = client(s, "named");
  MUST(send(c[1], "one", 3, 0)), MUST(send(c[1], "two", 3, 0));
  c[2] = client(s, "gone");
  MUST(send(c[2], "last words", 10, 0));
  close(c[2]), c[2] = -1;
  c[3] = client(s, NULL);
  for (int i = 0; i < BIG; i++) big[i] = (char)(i * 7 + i / 251 + round);
  CHECK_EQ(send(c[3], big, BIG, 0), BIG);
  MUST(shutdown(c[3], SHUT_WR));
  MUST(setresgid(8, 8, -1)), MUST(setresuid(7, 7, -1));
  c[4] = client(s, NULL);
  MUST(send(c[4], "seven", 5, 0));
  MUST(setresuid(0, 0, -1)), MUST(setresgid(0, 0, -1));
  c[5] = client(s, NULL);
  close(c[5]), c[5] = -1;
  c[6] = client(s, NULL);
  MUST(send(c[6], "x", 1, 0));
  MUST(send(c[6], big, 5000, 0));
}

/* One message; checks who has sent it when the socket asks for that. */
static ssize_t receive(int fd, char *to, size_t bytes, struct ucred *creds) {
  char control[256] __attribute__((aligned(8))) = {0};
  struct iovec part = {to, bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  memset(creds, 0, sizeof *creds);
  if (length >= 0 && c != NULL && c->cmsg_type == SCM_CREDENTIALS) memcpy(creds, CMSG_DATA(c), sizeof *creds);
  return length;
}

static void expect(struct server *s, int fd, const char *text, uid_t uid) {
  char got[64] = "";
  struct ucred creds;
  ssize_t length = receive(fd, got, s->type == SOCK_STREAM ? strlen(text) : sizeof got - 1, &creds);
  CHECK(length == (ssize_t)strlen(text) && strcmp(got, text) == 0, "%s: got \"%s\" (%zd), wanted \"%s\"", s->kind, got, length, text);
  if (creds.pid == 0) return;
  CHECK(creds.pid == getpid() && creds.uid == uid, "%s: \"%s\" is of %d, user %u", s->kind, text, creds.pid, creds.uid);
}

static void expect_big(struct server *s, int fd, size_t bytes, int round) {
  static char got[BIG + 1];
  struct ucred creds;
  size_t length = 0;
  for (ssize_t n; length < bytes && (n = receive(fd, got + length, sizeof got - length, &creds)) > 0;) {
    length += (size_t)n;
    if (s->type == SOCK_SEQPACKET) break;
  }
  CHECK(length == bytes, "%s: %zu bytes of %zu", s->kind, length, bytes);
  for (size_t i = 0; i < bytes; i++)
    if (got[i] != (char)(i * 7 + i / 251 + (size_t)round)) st_failf(__FILE__, __LINE__, "%s: byte %zu is wrong", s->kind, i);
}

static void expect_end(struct server *s, int fd, int is_closed) {
  char byte;
  ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
  if (is_closed) CHECK(got == 0, "%s: no end of file (%zd, %s)", s->kind, got, strerror(errno));
  else CHECK(got == -1 && errno == EAGAIN, "%s: there is more (%zd)", s->kind, got);
}

static void check(struct server *s, int round) {
  int fds[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    struct sockaddr_un from = {0}, wanted;
    socklen_t bytes = sizeof from;
    fds[i] = accept4(s->listener, (struct sockaddr *)&from, &bytes, SOCK_NONBLOCK);
    CHECK(fds[i] >= 0, "%s: connection %d is not there: %s", s->kind, i, strerror(errno));
    const char *name = i == 1 ? "named" : i == 2 ? "gone" : NULL;
    socklen_t wanted_bytes = name == NULL ? 2 : address(&wanted, s->kind, name);
    CHECK(bytes == wanted_bytes && (name == NULL || memcmp(&from, &wanted, bytes) == 0), "%s: connection %d has another name", s->kind, i);
    struct ucred creds = {0};
    MUST(getsockopt(fds[i], SOL_SOCKET, SO_PEERCRED, &creds, &(socklen_t){sizeof creds}));
    CHECK(creds.uid == (i == 4 ? 7 : 0) && creds.gid == (i == 4 ? 8 : 0), "%s: connection %d is of %u:%u", s->kind, i, creds.uid, creds.gid);
    CHECK(creds.pid == getpid(), "%s: connection %d is of task %d", s->kind, i, creds.pid);
    int value = -1;
    MUST(getsockopt(fds[i], SOL_SOCKET, SO_PASSCRED, &value, &(socklen_t){sizeof value}));
    CHECK(value == s->inherits, "%s: connection %d has SO_PASSCRED %d", s->kind, i, value);
    int on = 1;
    if (i != 2) MUST(setsockopt(fds[i], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  }
  CHECK(accept4(s->listener, NULL, NULL, SOCK_NONBLOCK) == -1 && errno == EAGAIN, "%s: there are more connections", s->kind);
  expect_end(s, fds[0], 0);
  expect(s, fds[1], "one", 0), expect(s, fds[1], "two", 0), expect_end(s, fds[1], 0);
  expect(s, fds[2], "last words", 0), expect_end(s, fds[2], 1);
  expect_big(s, fds[3], BIG, round), expect_end(s, fds[3], 1);
  expect(s, fds[4], "seven", 7), expect_end(s, fds[4], 0);
  expect_end(s, fds[5], 1);
  expect(s, fds[6], "x", 0), expect_big(s, fds[6], 5000, round), expect_end(s, fds[6], 0);
  // The other way, and to the right client.
  for (int i = 0; i < CLIENTS; i++) {
    char byte = 0;
    if (s->clients[i] >= 0) {
      MUST(send(fds[i], (char[]){(char)('a' + i)}, 1, MSG_NOSIGNAL));
      CHECK(recv(s->clients[i], &byte, 1, MSG_DONTWAIT) == 1 && byte == 'a' + i, "%s: client %d has another server", s->kind, i);
      close(s->clients[i]);
    }
    close(fds[i]);
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct server servers[] = {{.kind = "stream", .type = SOCK_STREAM}, {.kind = "packet", .type = SOCK_SEQPACKET}};
  struct sockaddr_un to;
  for (int i = 0; i < 2; i++) {
    struct server *s = &servers[i];
    s->listener = MUST(socket(AF_UNIX, s->type | SOCK_NONBLOCK, 0));
    MUST(bind(s->listener, (struct sockaddr *)&to, address(&to, s->kind, "listener")));
    // All fit in, but no more; in the other one they fitted in once.
    MUST(listen(s->listener, CLIENTS));
    if (i == 1) MUST(setsockopt(s->listener, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)));
  }
  for (int i = 0; i < 2; i++) {
    struct server *s = &servers[i];
    int fd = client(s, NULL), accepted = MUST(accept(s->listener, NULL, NULL));
    MUST(getsockopt(accepted, SOL_SOCKET, SO_PASSCRED, &s->inherits, &(socklen_t){sizeof(int)}));
    close(fd), close(accepted);
  }
  for (int round = 0;; round++) {
    for (int i = 0; i < 2; i++) {
      MUST(listen(servers[i].listener, CLIENTS));
      fill(&servers[i], round);
      MUST(listen(servers[i].listener, i == 0 ? CLIENTS : 2));
    }
    st_next();
    for (int i = 0; i < 2; i++) check(&servers[i], round);
  }
}
