/*
 * Pipes, terminals and objects in memory that were passed on (passed.h): pipes, also in packet mode, a FIFO with an end each,
 * a pseudo terminal, memfds, one of them of huge pages, a BPF map, a network namespace, and a message queue, in the folder
 * that the argument names.
 */
/* flags: -lrt */
#include "passed.h"
#include <linux/bpf.h>
#include <linux/memfd.h>
#include <mqueue.h>
#include <termios.h>

static const char *queues;

static void make_pipes(void) {
  int ends[2];
  MUST(pipe(ends)), passed_add_pair("pipe", "into pipe", ends), say("pipe", ends[1], said("pipe", 0));
  MUST(pipe2(ends, O_DIRECT)), passed_add_pair("packets", "into packets", ends);
  say("packets", ends[1], said("packets", 0)), say("packets", ends[1], "second");
  MUST(mkfifo(path_of("fifo"), 0600));
  ends[0] = MUST(open(path_of("fifo"), O_RDONLY | O_NONBLOCK)), ends[1] = MUST(open(path_of("fifo"), O_WRONLY));
  passed_add_pair("fifo", "into fifo", ends), say("fifo", ends[1], said("fifo", 0));
}

static void use_pipes(int turn) {
  expect_and_say("pipe", "into pipe", turn), expect_and_say("fifo", "into fifo", turn);
  expect_text("packets", passed("packets"), said("packets", turn)), expect_text("packets", passed("packets"), "second");
  say("packets", passed("into packets"), said("packets", turn + 1)), say("packets", passed("into packets"), "second");
}

static void make_terminal(void) {
  int ends[2] = {MUST(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK))};
  struct termios settings;
  MUST(unlockpt(ends[0])), ends[1] = MUST(open(ptsname(ends[0]), O_RDWR | O_NOCTTY | O_NONBLOCK));
  MUST(tcgetattr(ends[1], &settings)), cfmakeraw(&settings), MUST(tcsetattr(ends[1], TCSANOW, &settings));
  passed_add_pair("master", "slave", ends), say("master", ends[0], said("slave", 0)), say("slave", ends[1], said("master", 0));
}

static void use_terminal(int turn) { expect_and_say("slave", "master", turn), expect_and_say("master", "slave", turn); }

static void make_memfds(void) {
  int fd = MUST(memfd_create("passed", MFD_ALLOW_SEALING)), huge = memfd_create("huge", MFD_HUGETLB);
  MUST(ftruncate(fd, 4096)), MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)), passed_add("memfd", fd);
  char *page = huge < 0 || ftruncate(huge, 2 << 20) < 0 ? MAP_FAILED : mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, huge, 0);
  if (page == MAP_FAILED) return st_missing("memfd of huge pages: %s", strerror(errno));
  munmap(page, 2 << 20), passed_add("huge", huge);
}

/* A number and, of the file, a position that the last turn has left. */
static void use_memory(const char *name, size_t bytes, int turn) {
  int fd = passed(name), *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(page != MAP_FAILED, "%s: mmap: %s", name, strerror(errno));
  if (page == MAP_FAILED) return;
  CHECK_EQ(page[bytes / sizeof *page - 1], turn);
  page[bytes / sizeof *page - 1] = turn + 1;
  munmap(page, bytes);
  CHECK_EQ(lseek(fd, 0, SEEK_CUR), turn);
  CHECK_EQ(lseek(fd, turn + 1, SEEK_SET), turn + 1);
}

static void use_memfds(int turn) {
  use_memory("memfd", 4096, turn);
  CHECK_EQ(fcntl(passed("memfd"), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
  CHECK(ftruncate(passed("memfd"), 8192) == -1 && errno == EPERM, "the seals do not hold");
  if (passed_find("huge") >= 0) use_memory("huge", 2 << 20, turn);
}

static void make_map(void) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.map_type = BPF_MAP_TYPE_ARRAY, attr.key_size = attr.value_size = 4, attr.max_entries = 1;
  int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr);
  if (fd < 0) return st_missing("BPF maps: %s", strerror(errno));
  passed_add("BPF map", fd);
}

static void use_map(int turn) {
  union bpf_attr attr;
  uint32_t key = 0, value = 77;
  memset(&attr, 0, sizeof attr);
  attr.map_fd = (uint32_t)passed("BPF map"), attr.key = (uintptr_t)&key, attr.value = (uintptr_t)&value;
  CHECK_EQ(syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof attr), 0);
  CHECK_EQ(value, turn);
  value = (uint32_t)turn + 1;
  CHECK_EQ(syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof attr), 0);
}

static void make_namespace(void) { passed_add("namespace", MUST(open("/proc/self/ns/net", O_RDONLY))); }

static void use_namespace(int turn) {
  struct stat info, own;
  (void)turn;
  CHECK(fstat(passed("namespace"), &info) == 0 && stat("/proc/self/ns/net", &own) == 0, "stat: %s", strerror(errno));
  CHECK(info.st_ino == own.st_ino && info.st_dev == own.st_dev, "the namespace is another");
}

static void make_queue(void) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", queues, path_of("passed"));
  int fd = open(path, O_RDWR | O_CREAT | O_NONBLOCK, 0600);
  if (fd < 0) return st_missing("message queues: %s: %s", path, strerror(errno));
  MUST(mq_send(fd, said("queued", 0), 8, 3)), passed_add("queue", fd);
}

static void use_queue(int turn) {
  char text[8193] = "";
  unsigned priority = 0;
  CHECK_EQ(mq_receive(passed("queue"), text, sizeof text - 1, &priority), 8);
  CHECK(strcmp(text, said("queued", turn)) == 0 && (int)priority == 3 + turn, "the queue has \"%s\" of priority %u", text, priority);
  CHECK_EQ(mq_send(passed("queue"), said("queued", turn + 1), 8, 4 + (unsigned)turn), 0);
}

static const struct kind kinds[] = {
  {"pipes", make_pipes, use_pipes}, {"terminal", make_terminal, use_terminal},    {"memfds", make_memfds, use_memfds},
  {"map", make_map, use_map},       {"namespace", make_namespace, use_namespace}, {"queue", make_queue, use_queue},
};

int main(int argc, char **argv) {
  st_init(argc, argv);
  queues = argc > 2 ? argv[2] : "/dev/mqueue";
  return passed_main(kinds, sizeof kinds / sizeof kinds[0]);
}
