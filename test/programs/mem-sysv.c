/*
 * System V shared memory of the host: a segment attached twice, for writing and for reading only, one attachment with a
 * hole in which there is other memory, a part without access; a child shares it. First argument: "kept" leaves the
 * segment to whoever ends the test (its id is in the file "segment"), "removed" has marked it for removal. "huge" is of
 * huge pages, and marked.
 */
#include "selftest.h"
#include <sys/ipc.h>
#include <sys/shm.h>

#define BYTES (16 * ST_PAGE - 100)

int main(int argc, char **argv) {
  st_init(argc, argv);
  const char *kind = argc > 2 ? argv[2] : "removed";
  int is_huge = strcmp(kind, "huge") == 0;
  int id = shmget(IPC_PRIVATE, is_huge ? 2 << 20 : BYTES, 0640 | IPC_CREAT | (is_huge ? SHM_HUGETLB : 0));
  if (id < 0 && is_huge) st_skip("shmget: %s", strerror(errno));
  MUST(id);
  uint8_t *write = MUST_MAP(shmat(id, NULL, 0)), *read = MUST_MAP(shmat(id, NULL, SHM_RDONLY));
  if (strcmp(kind, "kept") == 0) {
    FILE *file = fopen("segment", "w");
    fprintf(file, "%d", id);
    fclose(file);
  } else {
    MUST(shmctl(id, IPC_RMID, NULL));
  }
  uint8_t *hole = NULL;
  if (!is_huge) {
    hole = MUST_MAP(mmap(read + 4 * ST_PAGE, 2 * ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    MUST(munmap(read + 8 * ST_PAGE, ST_PAGE));
    MUST(mprotect(write + 12 * ST_PAGE, ST_PAGE, PROT_NONE));
    st_fill(hole, 2 * ST_PAGE, 100);
  }
  st_fill(write + ST_PAGE, 3 * ST_PAGE, 1);
  volatile uint64_t *from_parent = (uint64_t *)write, *from_child = from_parent + 1;
  pid_t child = MUST(fork());
  if (child == 0) {
    st_child("child");
    for (uint64_t round = 1; st_next(); round++) {
      WAIT_FOR(*from_parent == round);
      *from_child = round;
    }
  }
  st_wait_child("child");
  for (uint64_t round = 1; st_next(); round++) {
    CHECK_FILL(read + ST_PAGE, 3 * ST_PAGE, round);
    if (hole) CHECK_FILL(hole, 2 * ST_PAGE, 100);
    struct shmid_ds info;
    CHECK_EQ(shmctl(id, IPC_STAT, &info), 0);
    CHECK_EQ(info.shm_segsz, is_huge ? 2 << 20 : BYTES);
    CHECK_EQ(info.shm_perm.mode & 0777, 0640);
    *from_parent = round;
    WAIT_FOR(*from_child == round);
    st_fill(write + ST_PAGE, 3 * ST_PAGE, round + 1);
    void *again = shmat(id, NULL, 0);
    CHECK(again != (void *)-1, "it cannot be attached any more: %s", strerror(errno));
    CHECK_EQ(*(volatile uint64_t *)again, round);
    CHECK_EQ(shmdt(again), 0);
  }
}
