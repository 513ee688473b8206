/* A TCP connection inside of the program, with an urgent byte that nobody has received. */
#include "selftest.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  st_init(argc, argv);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t bytes = sizeof to;
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&to, bytes)), MUST(listen(listener, 1));
  MUST(getsockname(listener, (struct sockaddr *)&to, &bytes));
  MUST(connect(client, (struct sockaddr *)&to, bytes));
  int server = MUST(accept(listener, NULL, NULL));
  MUST(send(client, "urgent", 6, MSG_OOB)), MUST(send(client, " more", 5, 0));
  while (st_next()) {
    char byte = 0;
    CHECK(recv(server, &byte, 1, MSG_OOB | MSG_PEEK) == 1 && byte == 't', "the urgent byte is %c", byte);
  }
}
