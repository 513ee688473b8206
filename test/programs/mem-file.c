/*
 * Maps of files: private with some pages changed (the file must not see them), private untouched, shared (writes reach
 * the file and a second map of it), at an offset, and beyond the end of the file.
 */
#include "selftest.h"

#define BYTES (16 * ST_PAGE)

static int open_filled(const char *name, uint64_t seed) {
  static uint8_t buffer[BYTES] __attribute__((aligned(4096)));
  int fd = MUST(open(name, O_RDWR | O_CREAT | O_TRUNC, 0644));
  st_fill(buffer, BYTES, seed);
  if (write(fd, buffer, BYTES) != (ssize_t)BYTES) st_die(__FILE__, __LINE__, name);
  return fd;
}

static uint8_t *map_file(int fd, size_t bytes, int protection, int flags, off_t offset) {
  return MUST_MAP(mmap(NULL, bytes, protection, flags, fd, offset));
}

/* The file as read(2) gives it, page by page: not through a map. */
static uint64_t word_in_file(const char *name, off_t offset) {
  uint64_t word = 0;
  int fd = open(name, O_RDONLY);
  CHECK_EQ(pread(fd, &word, sizeof word, offset), sizeof word);
  close(fd);
  return word;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int private_fd = open_filled("private-file", 1), shared_fd = open_filled("shared-file", 2);
  int short_fd = open_filled("short-file", 3);
  MUST(ftruncate(short_fd, 100));
  uint8_t *changed = map_file(private_fd, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
  uint8_t *clean = map_file(private_fd, BYTES, PROT_READ, MAP_PRIVATE, 0);
  uint8_t *at_offset = map_file(private_fd, 4 * ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 8 * ST_PAGE);
  uint8_t *shared = map_file(shared_fd, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  uint8_t *shared_read_only = map_file(shared_fd, BYTES, PROT_READ, MAP_SHARED, 0);
  uint8_t *beyond = map_file(short_fd, 4 * ST_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
  uint64_t original = *(uint64_t *)changed, first_short = *(uint64_t *)beyond;
  close(private_fd), close(shared_fd), close(short_fd);

  st_fill(changed + 3 * ST_PAGE, 2 * ST_PAGE, 30);
  st_fill(at_offset, ST_PAGE, 80);
  for (uint64_t round = 1; st_next(); round++) {
    CHECK_EQ(*(uint64_t *)changed, original);
    CHECK_FILL(changed + 3 * ST_PAGE, 2 * ST_PAGE, 30);
    CHECK_FILL(clean, BYTES, 1);
    CHECK_FILL(at_offset, ST_PAGE, 80);
    CHECK(memcmp(at_offset + ST_PAGE, clean + 9 * ST_PAGE, 3 * ST_PAGE) == 0, "the map at an offset shows other pages");
    CHECK_EQ(word_in_file("private-file", 3 * ST_PAGE), *(uint64_t *)(clean + 3 * ST_PAGE));
    CHECK(memcmp(shared, shared_read_only, BYTES) == 0, "two shared maps of one file differ");
    st_fill(shared, ST_PAGE, 200 + round);
    CHECK_FILL(shared_read_only, ST_PAGE, 200 + round);
    CHECK_EQ(word_in_file("shared-file", 0), *(uint64_t *)shared);
    CHECK_EQ(*(uint64_t *)beyond, first_short);
    CHECK_ZERO(beyond + 104, ST_PAGE - 104);
  }
}
