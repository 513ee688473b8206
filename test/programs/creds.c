/*
 * Credentials of each thread: four user and group ids, groups, five capability sets, securebits, no_new_privs. Three
 * threads and a child differ in them (raw calls change one thread only).
 */
#include "selftest.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/fsuid.h>

struct creds {
  uid_t uid[3], fsuid;
  gid_t gid[3], fsgid;
  int group_count, securebits, no_new_privs;
  gid_t groups[64];
  struct __user_cap_data_struct caps[2];
  uint64_t bounding, ambient;
};

static volatile int round_now;
static volatile int seen[3];

static void take(struct creds *creds) {
  memset(creds, 0, sizeof *creds);
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  syscall(SYS_getresuid, &creds->uid[0], &creds->uid[1], &creds->uid[2]);
  syscall(SYS_getresgid, &creds->gid[0], &creds->gid[1], &creds->gid[2]);
  creds->fsuid = (uid_t)syscall(SYS_setfsuid, -1);
  creds->fsgid = (gid_t)syscall(SYS_setfsgid, -1);
  creds->group_count = (int)syscall(SYS_getgroups, 64, creds->groups);
  creds->securebits = prctl(PR_GET_SECUREBITS);
  creds->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  syscall(SYS_capget, &header, creds->caps);
  for (int cap = 0; cap < 64; cap++) {
    if (prctl(PR_CAPBSET_READ, cap) == 1) creds->bounding |= 1ULL << cap;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1) creds->ambient |= 1ULL << cap;
  }
}

static void compare(const char *who, const struct creds *before) {
  struct creds now;
  take(&now);
  for (int i = 0; i < 3; i++) {
    CHECK(now.uid[i] == before->uid[i], "%s: uid %d is %u, was %u", who, i, now.uid[i], before->uid[i]);
    CHECK(now.gid[i] == before->gid[i], "%s: gid %d is %u, was %u", who, i, now.gid[i], before->gid[i]);
  }
  CHECK(now.fsuid == before->fsuid && now.fsgid == before->fsgid, "%s: fsuid, fsgid are %u, %u", who, now.fsuid, now.fsgid);
  CHECK(now.group_count == before->group_count && memcmp(now.groups, before->groups, sizeof now.groups) == 0,
        "%s: %d groups, were %d", who, now.group_count, before->group_count);
  CHECK(now.securebits == before->securebits, "%s: securebits are %x, were %x", who, now.securebits, before->securebits);
  CHECK(now.no_new_privs == before->no_new_privs, "%s: no_new_privs is %d", who, now.no_new_privs);
  CHECK(memcmp(now.caps, before->caps, sizeof now.caps) == 0, "%s: effective, permitted, inheritable are %x %x %x, were %x %x %x",
        who, now.caps[0].effective, now.caps[0].permitted, now.caps[0].inheritable, before->caps[0].effective,
        before->caps[0].permitted, before->caps[0].inheritable);
  CHECK(now.bounding == before->bounding, "%s: bounding set is %lx, was %lx", who, now.bounding, before->bounding);
  CHECK(now.ambient == before->ambient, "%s: ambient set is %lx, was %lx", who, now.ambient, before->ambient);
}

static void set_caps(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {
    {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
    {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)},
  };
  MUST(syscall(SYS_capset, &header, data));
}

#define CAP(name) (1ULL << (CAP_##name))

static void differ(int index) {
  static const gid_t groups[] = {5, 100, 2000, 70000};
  if (index == 0) {
    MUST(syscall(SYS_setgroups, 4, groups));
    MUST(syscall(SYS_setresgid, 11, 12, 13));
    syscall(SYS_setfsgid, 14);
    MUST(syscall(SYS_setresuid, 1001, 0, 1003));
    syscall(SYS_setfsuid, 1004);
  } else if (index == 1) {
    for (int cap = CAP_SYS_BOOT; cap <= CAP_SYS_TIME; cap++) MUST(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
    MUST(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NOROOT));
    set_caps(CAP(NET_ADMIN) | CAP(KILL), CAP(NET_ADMIN) | CAP(KILL) | CAP(CHOWN) | CAP(NET_RAW), CAP(NET_RAW) | CAP(CHOWN));
    MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
  } else {
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(syscall(SYS_setgroups, 0, NULL));
    MUST(syscall(SYS_setresgid, 500, 500, 500));
    MUST(syscall(SYS_setresuid, 1000, 1000, 1000));
  }
}

static void *run(void *argument) {
  int index = (int)(intptr_t)argument, round = 0;
  char who[16];
  struct creds before;
  snprintf(who, sizeof who, "thread %d", index);
  differ(index);
  take(&before);
  seen[index] = -1;
  for (;;) {
    while (round_now == round) usleep(5000);
    round = round_now;
    compare(who, &before);
    seen[index] = round;
  }
  return NULL;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct creds before;
  if (MUST(fork()) == 0) {
    st_child("plain-user");
    differ(2);
    take(&before);
    while (st_next()) compare("child", &before);
  }
  st_wait_child("plain-user");
  for (int i = 0; i < 3; i++) {
    pthread_t thread;
    pthread_create(&thread, NULL, run, (void *)(intptr_t)i);
  }
  for (int i = 0; i < 3; i++) WAIT_FOR(seen[i] == -1);
  take(&before);
  for (int round = 1; st_next(); round++) {
    compare("main", &before);
    round_now = round;
    for (int i = 0; i < 3; i++) WAIT_FOR(seen[i] == round);
  }
}
