/*
 * What waits in UNIX sockets beyond its bytes: names of senders (alive, dead, abstract, deleted), credentials, messages
 * without bytes; SO_PEEK_OFF; users of connections (SO_PEERCRED); sockets whose file was renamed.
 */
#include "selftest.h"
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static char abstract[64];

static socklen_t address(struct sockaddr_un *to, const char *name) {
  memset(to, 0, sizeof *to);
  to->sun_family = AF_UNIX;
  size_t bytes = strlen(name) + 1;
  memcpy(to->sun_path, name, bytes);
  if (name[0] != '@') return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes);
  to->sun_path[0] = 0;
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + bytes - 1);
}

static int bound(int type, const char *name) {
  struct sockaddr_un to;
  int fd = MUST(socket(AF_UNIX, type, 0));
  socklen_t bytes = address(&to, name);
  MUST(bind(fd, (struct sockaddr *)&to, bytes));
  return fd;
}

static void send_to(int from, const char *name, const char *text) {
  struct sockaddr_un to;
  socklen_t bytes = address(&to, name);
  MUST(sendto(from, text, strlen(text), 0, (struct sockaddr *)&to, bytes));
}

static void expect(int fd, const char *sender, const char *text, const char *who) {
  struct sockaddr_un from, wanted;
  char got[64] = "";
  socklen_t bytes = sizeof from, wanted_bytes = sender == NULL ? 0 : address(&wanted, sender);
  ssize_t length = recvfrom(fd, got, sizeof got - 1, MSG_DONTWAIT, (struct sockaddr *)&from, &bytes);
  CHECK(length == (ssize_t)strlen(text) && strcmp(got, text) == 0, "%s: got \"%s\" (%zd), wanted \"%s\"", who, got, length, text);
  CHECK(bytes == wanted_bytes && (bytes == 0 || memcmp(&from, &wanted, bytes) == 0), "%s: \"%s\" has another sender", who, text);
}

/* The credentials that come with a message; pid 0 when there are none. */
static struct ucred receive_creds(int fd, const char *text) {
  char control[256] __attribute__((aligned(8))) = {0}, got[64] = "";
  struct iovec part = {got, sizeof got - 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct ucred creds = {0};
  CHECK(recvmsg(fd, &message, MSG_DONTWAIT) >= 0 && strcmp(got, text) == 0, "got \"%s\", wanted \"%s\"", got, text);
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  if (c != NULL && c->cmsg_type == SCM_CREDENTIALS) memcpy(&creds, CMSG_DATA(c), sizeof creds);
  return creds;
}

static void send_creds(int fd, const char *text, struct ucred creds) {
  char control[CMSG_SPACE(sizeof creds)] __attribute__((aligned(8))) = {0};
  struct iovec part = {(void *)text, strlen(text)};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_CREDENTIALS, c->cmsg_len = CMSG_LEN(sizeof creds);
  memcpy(CMSG_DATA(c), &creds, sizeof creds);
  MUST(sendmsg(fd, &message, 0));
}

static void expect_user(int fd, uid_t uid, gid_t gid, const char *who) {
  struct ucred creds = {0};
  MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &creds, &(socklen_t){sizeof creds}));
  CHECK(creds.uid == uid && creds.gid == gid, "%s: the user is %u:%u, wanted %u:%u", who, creds.uid, creds.gid, uid, gid);
}

static void become(uid_t uid, gid_t gid) {
  MUST(setresuid(-1, 0, -1));
  MUST(setresgid(-1, gid, -1)), MUST(setresuid(-1, uid, -1));
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  snprintf(abstract, sizeof abstract, "@criu-sender-%d", getpid());
  int receiver = bound(SOCK_DGRAM, "receiver.sock"), sender = bound(SOCK_DGRAM, abstract), on = 1;
  int by_path = bound(SOCK_DGRAM, "sender.sock"), unnamed = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  int pair[2], empty[2], peeked[2], passing[2], user_pair[2];
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)), MUST(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, empty));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, peeked)), MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, passing));
  MUST(setsockopt(passing[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));

  // A listening socket of user 33, a client of user 7, a pair of user 5; the program itself stays root.
  struct sockaddr_un to;
  int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  int late = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  char folder[64] = "/tmp/criu-selftest-XXXXXX", before[128], after[128];
  if (mkdtemp(folder) == NULL) st_die(__FILE__, __LINE__, "mkdtemp");
  MUST(chmod(folder, 0777));
  snprintf(before, sizeof before, "%s/being-made", folder), snprintf(after, sizeof after, "%s/ready", folder);
  socklen_t bytes = address(&to, before);
  MUST(bind(listener, (struct sockaddr *)&to, bytes));
  MUST(chmod(before, 0666));
  become(33, 34);
  MUST(listen(listener, 5));
  become(0, 0);
  // The usual way to let nobody see a socket that is not ready.
  MUST(rename(before, after));
  bytes = address(&to, after);
  become(7, 8);
  MUST(connect(client, (struct sockaddr *)&to, bytes));
  become(5, 6);
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, user_pair));
  become(0, 0);
  int server = MUST(accept(listener, NULL, NULL));
  (void)late;

  for (int round = 0;; round++) {
    send_to(sender, "receiver.sock", "abstract");
    send_to(by_path, "receiver.sock", "by path");
    send_to(unnamed, "receiver.sock", "unnamed");
    int dead = bound(SOCK_DGRAM, "dead.sock");
    send_to(dead, "receiver.sock", "dead");
    send_to(dead, "receiver.sock", "");
    send_to(by_path, "receiver.sock", "again");
    close(dead), MUST(unlink("dead.sock"));
    const char *texts[] = {"", "one", "", "", "two", ""};
    for (int i = 0; i < 6; i++) MUST(send(pair[0], texts[i], strlen(texts[i]), 0)), MUST(send(empty[0], texts[i], strlen(texts[i]), 0));
    int three = 3;
    MUST(send(peeked[0], "abcdef", 6, 0));
    MUST(setsockopt(peeked[1], SOL_SOCKET, SO_PEEK_OFF, &three, sizeof three));
    MUST(send(passing[0], "mine", 4, 0));
    send_creds(passing[0], "other", (struct ucred){getpid(), 12, 13});

    st_next();
    expect(receiver, abstract, "abstract", "receiver"), expect(receiver, "sender.sock", "by path", "receiver");
    expect(receiver, NULL, "unnamed", "receiver"), expect(receiver, "dead.sock", "dead", "receiver");
    expect(receiver, "dead.sock", "", "receiver"), expect(receiver, "sender.sock", "again", "receiver");
    CHECK(access("dead.sock", F_OK) == -1, "a dead sender has its name again");
    for (int i = 0; i < 6; i++) expect(pair[1], NULL, texts[i], "pair"), expect(empty[1], NULL, texts[i], "packets");
    char byte[8] = "";
    CHECK(recv(pair[1], byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN, "there is more");
    int value = 0;
    MUST(getsockopt(peeked[1], SOL_SOCKET, SO_PEEK_OFF, &value, &(socklen_t){sizeof value}));
    CHECK_EQ(value, 3);
    CHECK(recv(peeked[1], byte, 3, MSG_PEEK) == 3 && strcmp(byte, "def") == 0, "peeked at \"%s\"", byte);
    char rest[8] = "";
    CHECK(recv(peeked[1], rest, 6, 0) == 6 && strcmp(rest, "abcdef") == 0, "read \"%s\"", rest);
    struct ucred mine = receive_creds(passing[1], "mine"), other = receive_creds(passing[1], "other");
    CHECK(mine.pid == getpid() && mine.uid == 0, "the first message is of %d, user %u", mine.pid, mine.uid);
    CHECK(other.pid == getpid() && other.uid == 12 && other.gid == 13, "the second one is of %d, user %u", other.pid, other.uid);

    expect_user(server, 7, 8, "server"), expect_user(client, 33, 34, "client");
    expect_user(user_pair[0], 5, 6, "pair"), expect_user(user_pair[1], 5, 6, "pair");
    CHECK(access(before, F_OK) == -1 && access(after, F_OK) == 0, "the socket has another place");
    struct sockaddr_un name = {0};
    bytes = sizeof name;
    MUST(getsockname(listener, (struct sockaddr *)&name, &bytes));
    CHECK(strcmp(name.sun_path, before) == 0, "the name is %s", name.sun_path);
    int again = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    bytes = address(&to, after);
    CHECK(connect(again, (struct sockaddr *)&to, bytes) == 0, "connect: %s", strerror(errno));
    int accepted = accept(listener, NULL, NULL);
    CHECK(accepted >= 0, "accept");
    close(again), close(accepted);
  }
}
