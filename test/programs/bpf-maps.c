/*
 * BPF maps: a hash table that is frozen, an array that two tasks share, one of which writes through a second description
 * of it and each of which sees what the other has written, a table with a value for each CPU, and a description for reading only.
 */
#include "selftest.h"

#include <linux/bpf.h>

#define ENTRIES 10
#define CPUS_MAX 1024

static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

static int make(unsigned type, const char *name, unsigned flags) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.map_type = type;
  attr.key_size = 4;
  attr.value_size = 12;
  attr.max_entries = ENTRIES;
  attr.map_flags = flags;
  snprintf(attr.map_name, sizeof attr.map_name, "%s", name);
  int fd = (int)bpf(BPF_MAP_CREATE, &attr);
  if (fd < 0 && (errno == EPERM || errno == ENOSYS)) st_skip("bpf: %s", strerror(errno));
  return MUST(fd);
}

static long element(int command, int fd, unsigned key, void *value) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.map_fd = (unsigned)fd;
  attr.key = (uintptr_t)&key;
  attr.value = (uintptr_t)value;
  return bpf(command, &attr);
}

static void put(int fd, unsigned key, unsigned seed) {
  unsigned value[CPUS_MAX * 4];
  for (unsigned i = 0; i < CPUS_MAX * 4; i++) value[i] = seed + i;
  MUST(element(BPF_MAP_UPDATE_ELEM, fd, key, value));
}

static void check_value(const char *what, int fd, unsigned key, unsigned seed) {
  unsigned value[CPUS_MAX * 4] = {0};
  CHECK_EQ(element(BPF_MAP_LOOKUP_ELEM, fd, key, value), 0);
  for (unsigned i = 0; i < 3; i++)
    CHECK(value[i] == seed + i, "%s[%u].%u is %u instead of %u", what, key, i, value[i], seed + i);
}

static unsigned value_at(int fd, unsigned key) {
  unsigned value[CPUS_MAX * 4] = {0};
  CHECK_EQ(element(BPF_MAP_LOOKUP_ELEM, fd, key, value), 0);
  return value[0];
}

static unsigned map_id(int fd) {
  struct bpf_map_info info;
  memset(&info, 0, sizeof info);
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.info.bpf_fd = (unsigned)fd;
  attr.info.info_len = sizeof info;
  attr.info.info = (uintptr_t)&info;
  CHECK_EQ(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr), 0);
  CHECK(strcmp(info.name, "array") == 0, "the name is %s", info.name);
  return info.id;
}

static int open_again(int fd, unsigned flags) {
  union bpf_attr attr;
  memset(&attr, 0, sizeof attr);
  attr.map_id = map_id(fd);
  attr.open_flags = flags;
  return MUST((int)bpf(BPF_MAP_GET_FD_BY_ID, &attr));
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int hash = make(BPF_MAP_TYPE_HASH, "hash", BPF_F_NO_PREALLOC);
  int array = make(BPF_MAP_TYPE_ARRAY, "array", 0);
  int per_cpu = make(BPF_MAP_TYPE_PERCPU_HASH, "per_cpu", 0);
  int read_only = open_again(array, BPF_F_RDONLY);
  int empty = make(BPF_MAP_TYPE_LRU_HASH, "empty", 0);
  for (unsigned i = 0; i < ENTRIES; i += 2) put(hash, 1000 + i, i), put(per_cpu, i, 5 * i);
  union bpf_attr freeze;
  memset(&freeze, 0, sizeof freeze);
  freeze.map_fd = (unsigned)hash;
  MUST(bpf(BPF_MAP_FREEZE, &freeze));
  unsigned round = 0;
  if (MUST(fork()) == 0) {
    int other = open_again(array, 0);
    st_child("child");
    for (put(other, 3, round); st_next(); put(other, 3, ++round)) {
      check_value("child's array", other, 3, round);
      // What the parent writes in this round comes to the child, and the child's answer to the parent.
      WAIT_FOR(value_at(other, 5) == 100 + round);
      put(other, 6, 200 + round);
    }
    return 0;
  }
  st_wait_child("child");
  for (put(array, 7, round); st_next(); put(array, 7, ++round)) {
    for (unsigned i = 0; i < ENTRIES; i++) {
      unsigned value[CPUS_MAX * 4];
      if (i % 2 == 1) CHECK_EQ(element(BPF_MAP_LOOKUP_ELEM, hash, 1000 + i, value), -1);
      if (i % 2 == 0) check_value("hash", hash, 1000 + i, i), check_value("per_cpu", per_cpu, i, 5 * i);
    }
    unsigned none[3] = {0};
    CHECK_EQ(element(BPF_MAP_UPDATE_ELEM, hash, 1, none), -1);
    CHECK_EQ(errno, EPERM);
    check_value("array", array, 7, round);
    check_value("array", read_only, 7, round);
    check_value("the child's part of the array", array, 3, round);
    put(array, 5, 100 + round);
    WAIT_FOR(value_at(array, 6) == 200 + round);
    CHECK_EQ(value_at(read_only, 6), 200 + round);
    CHECK_EQ(element(BPF_MAP_UPDATE_ELEM, read_only, 1, none), -1);
    CHECK_EQ(map_id(array), map_id(read_only));
    CHECK_EQ(element(BPF_MAP_LOOKUP_ELEM, empty, 1, none), -1);
  }
}
