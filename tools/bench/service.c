/* flags: -pthread */
/*
 * What most programs are like: with libraries, an allocator's heap, a log file, some threads, a socket that listens, an
 * epoll with a timer, and handlers of signals.
 */
#include "bench.h"

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define THREADS 4
#define BLOCKS 256
#define BLOCK 4000

static volatile sig_atomic_t signals;
static uint64_t *blocks[BLOCKS];
static int listener, watcher, timer, event, pair[2];

static void count_signal(int signal)
{
	(void)signal;
	signals++;
}

static void *sleeper(void *unused)
{
	(void)unused;
	bench_sleep(NULL);
	return NULL;
}

/* The heap is as it was, a connection is taken, the timer is watched and runs, and a signal comes. */
static int is_good(void)
{
	struct sockaddr_in address;
	socklen_t bytes = sizeof address;
	struct itimerspec left;
	struct epoll_event ready;
	uint64_t count = 1;
	int i, k, near, far, before = signals;

	for (i = 0; i < BLOCKS; i++)
		for (k = 0; k < BLOCK / 8; k++)
			if (blocks[i][k] != (uint64_t)i * BLOCK + k) return 0;
	if (getsockname(listener, (struct sockaddr *)&address, &bytes)) return 0;
	near = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(near, (struct sockaddr *)&address, bytes)) return 0;
	far = accept(listener, NULL, NULL);
	if (far < 0) return 0;
	close(near);
	close(far);
	if (timerfd_gettime(timer, &left) || left.it_value.tv_sec <= 0) return 0;
	if (write(event, &count, 8) != 8 || epoll_wait(watcher, &ready, 1, 0) != 1 || ready.data.fd != event) return 0;
	if (read(event, &count, 8) != 8 || write(pair[0], &count, 8) != 8 || read(pair[1], &count, 8) != 8) return 0;
	raise(SIGUSR1);
	return signals == before + 1;
}

static void watch(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (fd < 0 || epoll_ctl(watcher, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct itimerspec soon = { .it_value.tv_sec = 1000000 };
	struct sigaction action = { .sa_handler = count_signal };
	int i, k;

	bench_open(argc, argv);
	for (i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK);
		for (k = 0; k < BLOCK / 8; k++) blocks[i][k] = (uint64_t)i * BLOCK + k;
	}
	if (open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC) < 0) die(argv[1]);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) die("listen");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) die("socketpair");
	watcher = epoll_create1(EPOLL_CLOEXEC);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	if (timerfd_settime(timer, 0, &soon, NULL)) die("timerfd_settime");
	event = eventfd(0, EFD_NONBLOCK);
	watch(timer);
	watch(event);
	sigaction(SIGUSR1, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < THREADS; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, sleeper, NULL)) die("pthread_create");
	}
	usleep(100000);
	bench_run(THREADS, is_good);
}
