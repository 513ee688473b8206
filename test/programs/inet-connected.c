/* A TCP connection of the program with itself. */
#include "selftest.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof name;
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&name, sizeof name)), MUST(listen(listener, 1));
  MUST(getsockname(listener, (struct sockaddr *)&name, &length));
  MUST(connect(client, (struct sockaddr *)&name, sizeof name));
  int server = MUST(accept(listener, NULL, NULL));
  while (st_next()) {
    char word[4];
    CHECK_EQ(write(client, "word", 4), 4);
    CHECK_EQ(read(server, word, sizeof word), 4);
  }
}
