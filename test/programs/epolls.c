/*
 * epoll sets with what descriptor numbers do not tell: a watched file that was closed and lives on as a duplicate, in
 * another task, or in flight; the same number twice; sets in sets; a set that is itself in flight, to the socket it
 * watches.
 */
#include "selftest.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

static void add(int set, int fd, uint64_t data) {
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u64 = data}));
}

static void send_descriptor(int to, int fd) {
  char control[CMSG_SPACE(sizeof fd)] __attribute__((aligned(8))) = {0}, byte = 'd';
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET, rights->cmsg_type = SCM_RIGHTS, rights->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  MUST(sendmsg(to, &message, 0));
}

static int receive_descriptor(int from) {
  char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0}, byte = 0;
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  int fd = -1;
  if (recvmsg(from, &message, MSG_DONTWAIT) != 1) return -1;
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  if (rights != NULL && rights->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(rights), sizeof fd);
  return fd;
}

/* The data of the file that is ready, when there is exactly one; otherwise minus the count. */
static long long ready(int set) {
  struct epoll_event events[8];
  int count = epoll_wait(set, events, 8, 1000);
  return count == 1 ? (long long)events[0].data.u64 : -(long long)count;
}

static void signal_event(int fd) {
  uint64_t one = 1;
  CHECK_EQ(write(fd, &one, 8), 8);
}

static void take_event(int fd) {
  uint64_t value = 0;
  CHECK_EQ(read(fd, &value, 8), 8);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int set = MUST(epoll_create1(0)), outer = MUST(epoll_create1(0));
  int first = MUST(eventfd(0, 0));
  add(set, first, 1);
  int duplicate = MUST(fcntl(first, F_DUPFD, 50));
  close(first);
  // The same number, another file.
  int second = MUST(eventfd(0, 0));
  if (second != first) st_die(__FILE__, __LINE__, "the number is not free");
  add(set, second, 2);
  int others = MUST(eventfd(0, 0)), to_child[2], flight[2], itself[2], to_parent[2];
  add(set, others, 3);
  add(outer, set, 4);
  MUST(pipe(to_child)), MUST(pipe(to_parent));
  if (MUST(fork()) == 0) {
    st_child("child");
    while (st_next()) {
      char byte = 0;
      CHECK_EQ(read(to_child[0], &byte, 1), 1);
      signal_event(others);
      CHECK_EQ(write(to_parent[1], &byte, 1), 1);
      CHECK_EQ(read(to_child[0], &byte, 1), 1);
      take_event(others);
      CHECK_EQ(write(to_parent[1], &byte, 1), 1);
    }
  }
  st_wait_child("child");
  // From now on only the child has it.
  close(others);
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, flight)), MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, itself));
  int hidden = MUST(eventfd(0, 0));
  add(set, hidden, 5);
  send_descriptor(flight[0], hidden);
  close(hidden);
  int carried = MUST(epoll_create1(0));
  add(carried, itself[1], 6);
  send_descriptor(itself[0], carried);
  close(carried);

  while (st_next()) {
    signal_event(duplicate);
    CHECK_EQ(ready(set), 1);
    CHECK_EQ(ready(outer), 4);
    take_event(duplicate);
    signal_event(second);
    CHECK_EQ(ready(set), 2);
    take_event(second);
    char byte = 'x';
    CHECK_EQ(write(to_child[1], &byte, 1), 1);
    CHECK_EQ(read(to_parent[0], &byte, 1), 1);
    CHECK_EQ(ready(set), 3);
    CHECK_EQ(write(to_child[1], &byte, 1), 1);
    CHECK_EQ(read(to_parent[0], &byte, 1), 1);
    int got = receive_descriptor(flight[1]);
    CHECK(got >= 0, "no descriptor in flight");
    signal_event(got);
    CHECK_EQ(ready(set), 5);
    take_event(got);
    send_descriptor(flight[0], got);
    close(got);
    carried = receive_descriptor(itself[1]);
    CHECK(carried >= 0, "no epoll in flight");
    CHECK_EQ(send(itself[0], "x", 1, 0), 1);
    CHECK_EQ(ready(carried), 6);
    CHECK_EQ(recv(itself[1], &byte, 1, 0), 1);
    send_descriptor(itself[0], carried);
    close(carried);
  }
}
