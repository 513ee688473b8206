/* Sockets of families that no checkpoint can hold; which ones the kernel has is in the file "families" beside STATUS. */
#include "selftest.h"
#include <sys/socket.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  static const struct {
    int family, type, protocol;
    const char *name;
  } kinds[] = {
      {38, SOCK_SEQPACKET, 0, "AF_ALG"},    {40, SOCK_STREAM, 0, "AF_VSOCK"}, {AF_INET, SOCK_STREAM, 132, "SCTP"},
      {AF_INET, SOCK_STREAM, 262, "multipath TCP"}, {44, SOCK_RAW, 0, "AF_XDP"},     {31, SOCK_RAW, 1, "Bluetooth"},
      {29, SOCK_RAW, 1, "CAN"},             {30, SOCK_SEQPACKET, 0, "TIPC"},  {15, SOCK_RAW, 2, "AF_KEY"},
  };
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%.*sfamilies", (int)(strrchr(argv[1], '/') + 1 - argv[1]), argv[1]);
  FILE *list = fopen(path, "w");
  int count = 0;
  for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    int fd = socket(kinds[i].family, kinds[i].type, kinds[i].protocol);
    if (fd < 0) continue;
    count++;
    fprintf(list, "%s\n", kinds[i].name);
  }
  fclose(list);
  if (count == 0) st_skip("the kernel has none of these families");
  while (st_next()) CHECK(count > 0, "no sockets");
}
