/* A datagram in parts: the first of them was written with MSG_MORE, the rest comes later. */
#include "selftest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int receiver = MUST(socket(AF_INET, SOCK_DGRAM, 0)), sender = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  MUST(bind(receiver, (struct sockaddr *)&name, sizeof name));
  MUST(getsockname(receiver, (struct sockaddr *)&name, &(socklen_t){sizeof name}));
  MUST(connect(sender, (struct sockaddr *)&name, sizeof name));
  for (;;) {
    MUST(send(sender, "first", 5, MSG_MORE));
    st_next();
    char text[16] = "";
    CHECK_EQ(send(sender, " last", 5, 0), 5);
    CHECK(recv(receiver, text, sizeof text - 1, 0) == 10 && strcmp(text, "first last") == 0, "got \"%s\"", text);
  }
}
