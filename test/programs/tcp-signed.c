/* A TCP connection inside of the program whose segments are signed by a key (TCP_MD5SIG), or a socket that waits for one. */
#include "selftest.h"
#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct sockaddr_in peer = {.sin_family = AF_INET};

static int signing(void) {
  struct tcp_md5sig key = {.tcpm_keylen = 6, .tcpm_key = "secret"};
  int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
  memcpy(&key.tcpm_addr, &peer, sizeof peer);
  if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof key) < 0) st_skip("the kernel has no TCP_MD5SIG");
  return fd;
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t bytes = sizeof peer;
  int listener = signing(), client = signing(), server;
  MUST(bind(listener, (struct sockaddr *)&peer, bytes)), MUST(listen(listener, 1));
  MUST(getsockname(listener, (struct sockaddr *)&peer, &bytes));
  MUST(connect(client, (struct sockaddr *)&peer, bytes));
  server = MUST(accept(listener, NULL, NULL));
  while (st_next()) {
    char byte = 0;
    CHECK(send(client, "x", 1, 0) == 1 && recv(server, &byte, 1, 0) == 1 && byte == 'x', "received %c", byte);
  }
}
