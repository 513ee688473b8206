/*
 * eventfd (with the argument "semaphore" also in semaphore mode), timerfd on two clocks, signalfd, epoll with its
 * targets, inotify: content and settings.
 */
#include "selftest.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int counter = MUST(eventfd(0, EFD_NONBLOCK)), semaphore = MUST(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC));
  int slow = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), fast = MUST(timerfd_create(CLOCK_BOOTTIME, 0));
  int signals = MUST(signalfd(-1, &set, SFD_NONBLOCK));
  int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
  int watches = MUST(inotify_init1(IN_NONBLOCK));
  MUST(mkdir("watched", 0700));
  int watch = MUST(inotify_add_watch(watches, "watched", IN_CREATE | IN_DELETE));
  MUST(timerfd_settime(slow, 0, &(struct itimerspec){{5, 0}, {5000, 0}}, NULL));
  MUST(timerfd_settime(fast, 0, &(struct itimerspec){{0, 50000000}, {0, 50000000}}, NULL));
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &(struct epoll_event){.events = EPOLLIN | EPOLLET, .data.u64 = 111}));
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &(struct epoll_event){.events = EPOLLIN, .data.u64 = 222}));
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, semaphore, &(struct epoll_event){.events = EPOLLOUT | EPOLLONESHOT, .data.u64 = 333}));
  for (int round = 0;; round++) {
    uint64_t value = 40 + (uint64_t)round;
    MUST(write(counter, &value, 8));
    st_next();
    uint64_t got = 0;
    CHECK_EQ(read(counter, &got, 8), 8);
    CHECK_EQ(got, 40 + round);
    CHECK(read(counter, &got, 8) == -1 && errno == EAGAIN, "the eventfd is not empty or blocks");
    if (argc > 2) CHECK(read(semaphore, &got, 8) == 8 && got == 1, "the semaphore gave %lu", got);
    got = 1;
    if (argc > 2) CHECK_EQ(write(semaphore, &got, 8), 8);
    struct itimerspec is;
    CHECK_EQ(timerfd_gettime(slow, &is), 0);
    CHECK(is.it_interval.tv_sec == 5 && is.it_value.tv_sec > 4900 && is.it_value.tv_sec <= 5000, "the timer has %ld s left", is.it_value.tv_sec);
    int has_fired = poll(&(struct pollfd){.fd = fast, .events = POLLIN}, 1, 3000);
    CHECK(has_fired == 1, "a periodic timerfd does not fire any more");
    if (has_fired == 1) CHECK_EQ(read(fast, &got, 8), 8);
    kill(getpid(), SIGUSR1);
    struct epoll_event events[4];
    int found = 0, count = epoll_wait(epoll, events, 4, 1000);
    for (int i = 0; i < count; i++) found |= events[i].data.u64 == 222 && events[i].events == EPOLLIN;
    CHECK(found, "epoll does not report the signalfd");
    struct signalfd_siginfo info;
    CHECK(read(signals, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1, "the signalfd has no SIGUSR1");
    got = 1;
    CHECK_EQ(write(counter, &got, 8), 8);
    CHECK(epoll_wait(epoll, events, 4, 1000) >= 1 && events[0].data.u64 == 111, "epoll does not report the eventfd");
    CHECK_EQ(read(counter, &got, 8), 8);
    close(open("watched/file", O_CREAT | O_WRONLY, 0600));
    unlink("watched/file");
    char buffer[4096] __attribute__((aligned(8)));
    ssize_t bytes = read(watches, buffer, sizeof buffer);
    struct inotify_event *event = (struct inotify_event *)buffer;
    CHECK(bytes > 0 && event->wd == watch && event->mask == IN_CREATE && strcmp(event->name, "file") == 0, "inotify reports %zd bytes", bytes);
    while (read(watches, buffer, sizeof buffer) > 0) {}
  }
}
