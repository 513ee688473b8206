/*
 * redis-server with KEYS keys of 4 KiB random content, and a client of it, this program: each heartbeat is a PING that is
 * answered. Both are in the tree, joined by a UNIX socket.
 */
#include "bench.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define VALUE 4096
#define PIPELINE 64

static int server = -1;
static uint64_t keys;

static void send_all(const char *bytes, size_t count)
{
	while (count) {
		ssize_t done = write(server, bytes, count);
		if (done <= 0) die("write to redis");
		bytes += done;
		count -= done;
	}
}

static void receive_all(char *bytes, size_t count)
{
	while (count) {
		ssize_t done = read(server, bytes, count);
		if (done <= 0) die("read from redis");
		bytes += done;
		count -= done;
	}
}

static int answers(const char *wanted)
{
	char got[64];

	receive_all(got, strlen(wanted));
	return memcmp(got, wanted, strlen(wanted)) == 0;
}

static void fill_value(uint64_t key, uint64_t *value)
{
	uint64_t state = key * 2 + 1, i;

	for (i = 0; i < VALUE / 8; i++) value[i] = next_random(&state);
}

static void set_all(void)
{
	static char command[PIPELINE * (VALUE + 128)];
	uint64_t value[VALUE / 8], key, i;

	for (key = 0; key < keys; key += PIPELINE) {
		char *at = command;
		for (i = key; i < key + PIPELINE; i++) {
			fill_value(i, value);
			at += sprintf(at, "*3\r\n$3\r\nSET\r\n$16\r\n%016llx\r\n$%d\r\n", (unsigned long long)i, VALUE);
			memcpy(at, value, VALUE);
			at += VALUE;
			at += sprintf(at, "\r\n");
		}
		send_all(command, at - command);
		for (i = 0; i < PIPELINE; i++)
			if (!answers("+OK\r\n")) die("SET");
	}
}

/* Every 16th key. */
static int is_good(void)
{
	uint64_t value[VALUE / 8], got[VALUE / 8], key;
	char command[64];

	for (key = 0; key < keys; key += 16) {
		fill_value(key, value);
		send_all(command, sprintf(command, "*2\r\n$3\r\nGET\r\n$16\r\n%016llx\r\n", (unsigned long long)key));
		if (!answers("$4096\r\n")) return 0;
		receive_all((char *)got, VALUE);
		if (!answers("\r\n") || memcmp(got, value, VALUE)) return 0;
	}
	return 1;
}

static void beat(void)
{
	send_all("PING\r\n", 6);
	if (!answers("+PONG\r\n")) die("PING");
}

static void connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int tries;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	server = socket(AF_UNIX, SOCK_STREAM, 0);
	if (server < 0) die("socket");
	for (tries = 0; connect(server, (struct sockaddr *)&address, sizeof(address)); tries++) {
		if (tries > 10000) die(path);
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];

	bench_open(argc, argv);
	keys = argument(argc, argv, 2);
	snprintf(path, sizeof(path), "%s.redis", argv[1]);
	unlink(path);
	if (fork() == 0) {
		execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly",
		       "no", "--logfile", "/dev/null", (char *)NULL);
		die("redis-server");
	}
	connect_to(path);
	set_all();
	bench_beat = beat;
	bench_run(0, is_good);
}
