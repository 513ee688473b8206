/*
 * inotify (a folder, a deleted file, a watch for one event, a symbolic link) and fanotify (a folder): with the
 * numbers of the watches, and without an event that the program did not cause.
 */
#include "selftest.h"
#include <sys/fanotify.h>
#include <sys/inotify.h>

static char events[65536] __attribute__((aligned(8)));

/* Reads all events; returns the masks of watch `wd`, or 0. */
static unsigned int masks(ssize_t bytes, int wd) {
  unsigned int found = 0;
  for (char *at = events; bytes > 0 && at < events + bytes;) {
    struct inotify_event *event = (struct inotify_event *)at;
    if (event->wd == wd) found |= event->mask;
    at += sizeof *event + event->len;
  }
  return found;
}

static void write_byte(const char *name) {
  int fd = MUST(open(name, O_WRONLY));
  CHECK_EQ(write(fd, "x", 1), 1);
  close(fd);
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  MUST(mkdir("folder", 0700));
  close(MUST(open("folder/file", O_CREAT | O_RDWR, 0600)));
  int deleted = MUST(open("folder/deleted", O_CREAT | O_RDWR, 0600));
  MUST(symlink("file", "folder/link"));
  int notify = MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  int dropped = MUST(inotify_add_watch(notify, "folder/file", IN_OPEN));
  int folder = MUST(inotify_add_watch(notify, "folder", IN_OPEN | IN_CLOSE | IN_CREATE | IN_DELETE));
  int ghost = MUST(inotify_add_watch(notify, "folder/deleted", IN_MODIFY));
  int link = MUST(inotify_add_watch(notify, "folder/link", IN_ATTRIB | IN_DONT_FOLLOW));
  MUST(inotify_rm_watch(notify, dropped));
  MUST(unlink("folder/deleted"));
  int group = fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY | O_LARGEFILE);
  if (group < 0 && errno == EPERM) st_skip("fanotify needs CAP_SYS_ADMIN");
  MUST(group);
  MUST(fanotify_mark(group, FAN_MARK_ADD, FAN_MODIFY | FAN_EVENT_ON_CHILD, AT_FDCWD, "folder"));
  for (;;) {
    int once = MUST(inotify_add_watch(notify, "folder/file", IN_MODIFY | IN_ONESHOT));
    while (read(notify, events, sizeof events) > 0) {}
    st_next();
    CHECK(read(notify, events, sizeof events) == -1 && errno == EAGAIN, "there are events that nobody caused");
    CHECK(read(group, events, sizeof events) == -1 && errno == EAGAIN, "there are fanotify events that nobody caused");
    write_byte("folder/file");
    write_byte("folder/file");
    CHECK_EQ(write(deleted, "x", 1), 1);
    MUST(lchown("folder/link", getuid(), getgid()));
    ssize_t bytes = read(notify, events, sizeof events);
    CHECK_EQ(masks(bytes, folder), IN_OPEN | IN_CLOSE_WRITE);
    CHECK_EQ(masks(bytes, ghost), IN_MODIFY);
    CHECK_EQ(masks(bytes, link), IN_ATTRIB);
    CHECK_EQ(masks(bytes, once), IN_MODIFY | IN_IGNORED);
    bytes = read(group, events, sizeof events);
    struct fanotify_event_metadata *event = (struct fanotify_event_metadata *)events;
    CHECK(bytes >= (ssize_t)sizeof *event && event->mask == FAN_MODIFY, "fanotify reports %zd bytes", bytes);
    for (; FAN_EVENT_OK(event, bytes); event = FAN_EVENT_NEXT(event, bytes)) close(event->fd);
  }
}
