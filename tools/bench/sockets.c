/* COUNT connected pairs of stream sockets with one message each: KIND "unix", or "tcp" over the loopback device. */
#include "bench.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

static long count;
static int *ends;

static int is_good(void)
{
	char text[32], expected[32];
	long i;

	for (i = 0; i < count; i++) {
		snprintf(expected, sizeof(expected), "message %ld", i);
		if (recv(ends[2 * i], text, sizeof(text), MSG_PEEK) != (ssize_t)strlen(expected) + 1) return 0;
		if (strcmp(text, expected)) return 0;
	}
	return 1;
}

static void tcp_pair(int listener, const struct sockaddr_in *address, int *pair)
{
	pair[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(pair[1], (const struct sockaddr *)address, sizeof(*address))) die("connect");
	pair[0] = accept(listener, NULL, NULL);
	if (pair[0] < 0) die("accept");
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int is_tcp, listener = -1;
	char text[32];
	long i;

	bench_open(argc, argv);
	is_tcp = argc > 2 && !strcmp(argv[2], "tcp");
	count = argument(argc, argv, 3);
	ends = calloc(2 * count, sizeof(*ends));
	if (is_tcp) {
		listener = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 128)) die("listen");
		getsockname(listener, (struct sockaddr *)&address, &length);
	}
	for (i = 0; i < count; i++) {
		if (is_tcp) tcp_pair(listener, &address, ends + 2 * i);
		else if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends + 2 * i)) die("socketpair");
		snprintf(text, sizeof(text), "message %ld", i);
		if (send(ends[2 * i + 1], text, strlen(text) + 1, 0) < 0) die("send");
	}
	bench_run(0, is_good);
}
