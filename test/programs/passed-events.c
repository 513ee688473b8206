/*
 * Descriptors of events that were passed on (passed.h): eventfd, semaphore, signalfd, epoll sets with files of many kinds
 * and with sets in them, inotify, fanotify, pidfd of a task that lives and of one that has ended. timerfd: passed-timers.c.
 */
#include "passed.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>

static void put_value(int fd, uint64_t value) { CHECK_EQ(write(fd, &value, sizeof value), 8); }

static uint64_t take_value(int fd) {
  uint64_t value = 0;
  return read(fd, &value, sizeof value) == 8 ? value : 0;
}

static void make_eventfd(void) {
  passed_add("eventfd", MUST(eventfd(7, EFD_NONBLOCK)));
}

static void use_eventfd(int turn) {
  CHECK_EQ(take_value(passed("eventfd")), 7 + turn);
  CHECK_EQ(take_value(passed("eventfd")), 0);
  put_value(passed("eventfd"), 8 + (uint64_t)turn);
}

static void make_semaphore(void) { passed_add("semaphore", MUST(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK))); }

static void use_semaphore(int turn) {
  int fd = passed("semaphore"), units = 0;
  for (uint64_t value = 0; (value = take_value(fd)) != 0; units++) CHECK_EQ(value, 1);
  CHECK_EQ(units, 3 + turn);
  put_value(fd, 4 + (uint64_t)turn);
}

/* SIGUSR2, with every other turn also SIGWINCH. Both are blocked. */
static sigset_t mask_of(int turn) {
  sigset_t mask;
  sigemptyset(&mask), sigaddset(&mask, SIGUSR2);
  if (turn % 2 == 1) sigaddset(&mask, SIGWINCH);
  return mask;
}

static void make_signalfd(void) {
  sigset_t mask = mask_of(0);
  passed_add("signalfd", MUST(signalfd(-1, &mask, SFD_NONBLOCK)));
}

static void use_signalfd(int turn) {
  struct signalfd_siginfo info;
  int fd = passed("signalfd");
  sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = turn}), kill(getpid(), SIGWINCH);
  for (int i = 0; i <= turn % 2; i++) {
    CHECK_EQ(read(fd, &info, sizeof info), (ssize_t)sizeof info);
    CHECK(info.ssi_signo == SIGUSR2 ? info.ssi_int == turn : info.ssi_signo == SIGWINCH, "the signalfd has signal %u, %d", info.ssi_signo, info.ssi_int);
  }
  CHECK(read(fd, &info, sizeof info) == -1 && errno == EAGAIN, "the signalfd has signals that it should not");
  sigset_t mask = mask_of(1);
  while (sigtimedwait(&mask, NULL, &(struct timespec){0, 0}) > 0) continue;
  mask = mask_of(turn + 1);
  CHECK_EQ(signalfd(fd, &mask, 0), fd);
}

static void watch(int set_fd, int fd, uint64_t data) {
  MUST(epoll_ctl(set_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u64 = data}));
}

enum { COUNTER, TIMER, NOTIFY, TERMINAL, PIPE, TARGETS, INNER = 100, ENDED };

/* A bit for each target that is ready, or the data of the one that is none of them. */
static uint64_t ready(const char *name) {
  struct epoll_event events[8];
  uint64_t found = 0;
  int count = epoll_wait(passed(name), events, 8, 0);
  for (int i = 0; i < count; i++) found |= events[i].data.u64 < TARGETS ? 1ULL << events[i].data.u64 : events[i].data.u64;
  return found;
}

static void make_epoll(void) {
  int inner = MUST(epoll_create1(0)), outer = MUST(epoll_create1(0)), counter = MUST(eventfd(0, EFD_NONBLOCK)), ends[2], tty[2];
  int timer = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), notify = MUST(inotify_init1(IN_NONBLOCK));
  MUST(mkdir(path_of("epolled"), 0700)), MUST(inotify_add_watch(notify, path_of("epolled"), IN_DELETE_SELF | IN_ATTRIB));
  MUST(pipe2(ends, O_NONBLOCK));
  tty[0] = MUST(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)), MUST(unlockpt(tty[0]));
  tty[1] = MUST(open(ptsname(tty[0]), O_RDWR | O_NOCTTY | O_NONBLOCK));
  struct termios settings;
  MUST(tcgetattr(tty[1], &settings)), cfmakeraw(&settings), MUST(tcsetattr(tty[1], TCSANOW, &settings));
  watch(inner, counter, COUNTER), watch(inner, timer, TIMER), watch(inner, notify, NOTIFY);
  watch(inner, tty[1], TERMINAL), watch(inner, ends[0], PIPE), watch(outer, inner, INNER);
  passed_add("inner", inner), passed_add("outer", outer), passed_add("counter", counter), passed_add("timer", timer);
  passed_add("notify", notify), passed_add_pair("master", "slave", tty), passed_add_pair("reader", "writer", ends);
}

/* What first makes ready, second finds. */
static void use_epoll(int turn) {
  char buffer[256];
  if (passed_causes(turn)) {
    CHECK_EQ(ready("outer"), 0);
    CHECK_EQ(ready("inner"), 0);
    put_value(passed("counter"), 1), say("master", passed("master"), "x"), say("writer", passed("writer"), "x");
    CHECK_EQ(timerfd_settime(passed("timer"), 0, &(struct itimerspec){{0, 0}, {0, 1}}, NULL), 0);
    CHECK_EQ(chmod(path_of("epolled"), 0700), 0);
  }
  if (!passed_takes(turn)) return;
  WAIT_FOR(ready("inner") == (1 << TARGETS) - 1);
  CHECK_EQ(ready("outer"), INNER);
  CHECK_EQ(take_value(passed("counter")), 1);
  CHECK_EQ(take_value(passed("timer")), 1);
  expect_text("slave", passed("slave"), "x"), expect_text("reader", passed("reader"), "x");
  CHECK_EQ(read(passed("notify"), buffer, sizeof buffer), (ssize_t)sizeof(struct inotify_event));
  CHECK_EQ(ready("inner"), 0);
}

static void make_pidfds(void) {
  int live = MUST((int)syscall(SYS_pidfd_open, shared->root, 0)), dead = MUST((int)syscall(SYS_pidfd_open, getpid(), 0));
  int set_of_dead = MUST(epoll_create1(0));
  watch(set_of_dead, live, COUNTER), watch(set_of_dead, dead, ENDED);
  passed_add("pidfd", live), passed_add("dead", dead), passed_add("set of pidfds", set_of_dead);
}

static void use_pidfds(int turn) {
  (void)turn;
  int before = shared->signals;
  CHECK_EQ(syscall(SYS_pidfd_send_signal, passed("pidfd"), SIGUSR1, NULL, 0), 0);
  WAIT_FOR(shared->signals == before + 1);
  CHECK(syscall(SYS_pidfd_send_signal, passed("dead"), 0, NULL, 0) == -1 && errno == ESRCH, "the dead one can be signalled");
  CHECK_EQ(ready("set of pidfds"), ENDED);
}

static void make_inotify(void) {
  int fd = MUST(inotify_init1(IN_NONBLOCK));
  MUST(mkdir(path_of("watched"), 0700)), MUST(inotify_add_watch(fd, path_of("watched"), IN_CREATE));
  passed_add("inotify", fd);
}

/* A new file in the folder, which is gone afterwards. */
static void touch(const char *folder, int turn) {
  char name[128];
  snprintf(name, sizeof name, "%s/file-%d", path_of(folder), turn);
  int fd = open(name, O_CREAT | O_RDWR, 0600);
  CHECK(fd >= 0 && close(fd) == 0 && unlink(name) == 0, "%s: %s", name, strerror(errno));
}

static char events[4096] __attribute__((aligned(8)));

static void use_inotify(int turn) {
  int fd = passed("inotify");
  if (passed_causes(turn)) {
    CHECK(read(fd, events, sizeof events) == -1 && errno == EAGAIN, "inotify has events that nobody caused");
    touch("watched", turn);
  }
  if (!passed_takes(turn)) return;
  struct inotify_event *event = (struct inotify_event *)events;
  ssize_t got = read(fd, events, sizeof events);
  CHECK(got == (ssize_t)(sizeof *event + event->len) && event->wd == 1 && event->mask == IN_CREATE, "inotify: %zd bytes", got);
  CHECK(got > 0 && strcmp(event->name, said("file", passed_caused(turn))) == 0, "inotify tells of another file: %s", event->name);
}

static void make_fanotify(void) {
  int fd = fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
  if (fd < 0) return st_missing("fanotify: %s", strerror(errno));
  MUST(mkdir(path_of("marked"), 0700));
  MUST(fanotify_mark(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, AT_FDCWD, path_of("marked")));
  passed_add("fanotify", fd);
}

static void use_fanotify(int turn) {
  int fd = passed("fanotify");
  if (passed_causes(turn)) {
    CHECK(read(fd, events, sizeof events) == -1 && errno == EAGAIN, "fanotify has events that nobody caused");
    touch("marked", turn);
  }
  if (!passed_takes(turn)) return;
  struct fanotify_event_metadata *event = (struct fanotify_event_metadata *)events;
  ssize_t got = read(fd, events, sizeof events);
  CHECK(got == (ssize_t)event->event_len && event->mask == FAN_CLOSE_WRITE, "fanotify: %zd bytes", got);
  char link[64], name[256] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", event->fd);
  CHECK(readlink(link, name, sizeof name - 1) > 0 && strstr(name, said("/file", passed_caused(turn))) != NULL, "fanotify tells of another file: %s", name);
  close(event->fd);
}

static const struct kind kinds[] = {
  {"eventfd", make_eventfd, use_eventfd},    {"semaphore", make_semaphore, use_semaphore}, {"signalfd", make_signalfd, use_signalfd},
  {"epoll", make_epoll, use_epoll},          {"pidfds", make_pidfds, use_pidfds},          {"inotify", make_inotify, use_inotify},
  {"fanotify", make_fanotify, use_fanotify},
};

int main(int argc, char **argv) {
  st_init(argc, argv);
  sigset_t mask = mask_of(1);
  sigprocmask(SIG_BLOCK, &mask, NULL);
  return passed_main(kinds, sizeof kinds / sizeof kinds[0]);
}
