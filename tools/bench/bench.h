/*
 * What all target programs of the benchmark share: a status page in a file that the controller reads and writes, a
 * heartbeat every 0.2 ms that measures how long the program stood still, and a check of its own state on demand.
 *
 * Usage: PROGRAM STATUS-FILE [ARGUMENT...]. The main thread beats; all other threads and tasks sleep on a futex in the
 * status page and answer when the check asks who is alive.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The order is known to target.ts. */
struct status {
	volatile uint64_t ready;       /* 1 when the program is set up */
	volatile uint64_t ticks;
	volatile uint64_t longest_gap; /* ns between two ticks since the last reset */
	volatile uint64_t reset;       /* set by the controller, cleared by the program */
	volatile uint64_t first_tick;  /* CLOCK_REALTIME, ns, of the first tick after the controller wrote 0 */
	volatile uint64_t check;       /* set by the controller: number of a check */
	volatile uint64_t checked;     /* number of the last check that is done */
	volatile uint64_t is_good;     /* its result */
	volatile uint64_t answered;    /* tasks and threads that woke up for it */
	volatile uint32_t wake;        /* the futex: number of the check */
};

static struct status *status;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static long argument(int argc, char **argv, int index)
{
	if (argc <= index) {
		fprintf(stderr, "argument %d is missing\n", index);
		exit(2);
	}
	return strtol(argv[index], NULL, 10);
}

/* A session of its own, no descriptors but 0 to 2, the status page. */
static void bench_open(int argc, char **argv)
{
	int fd;

	if (argc < 2) {
		fprintf(stderr, "usage: %s STATUS-FILE [ARGUMENT...]\n", argv[0]);
		exit(2);
	}
	if (setsid() < 0 && getsid(0) != getpid()) die("setsid");
	for (fd = 3; fd < 1024; fd++) close(fd);
	fd = open(argv[1], O_RDWR);
	if (fd < 0) die(argv[1]);
	status = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (status == MAP_FAILED) die("mmap");
	close(fd);
}

/* What threads and tasks other than the main one do for ever. `is_good` may be NULL. */
__attribute__((unused)) static void bench_sleep(int (*is_good)(void))
{
	uint32_t seen = status->wake;

	for (;;) {
		syscall(SYS_futex, &status->wake, FUTEX_WAIT, seen, NULL, NULL, 0);
		if (status->wake == seen) continue;
		seen = status->wake;
		if (!is_good || is_good()) __atomic_add_fetch(&status->answered, 1, __ATOMIC_SEQ_CST);
	}
}

/* Wakes the others; true when `others` of them answer within 10 s. */
static int all_answer(uint64_t others)
{
	uint64_t end = now_ns() + 10000000000ull;

	status->answered = 0;
	__atomic_add_fetch(&status->wake, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &status->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	while (status->answered != others && now_ns() < end) usleep(200);
	return status->answered == others;
}

/* What a beat has to do besides, if anything. */
static void (*bench_beat)(void);

/* Beats for ever. `others`: threads and tasks that have to answer; `is_good` checks the rest and may be NULL. */
static void bench_run(uint64_t others, int (*is_good)(void))
{
	struct timespec pause = { 0, 200000 };
	uint64_t last = now_ns(), now;

	status->ready = 1;
	for (;;) {
		nanosleep(&pause, NULL);
		if (bench_beat) bench_beat();
		now = now_ns();
		if (status->reset) {
			status->longest_gap = 0;
			status->reset = 0;
		} else if (now - last > status->longest_gap) {
			status->longest_gap = now - last;
		}
		last = now;
		status->ticks++;
		/* The monotonic clock of a restored program may go on where it stopped. */
		if (!status->first_tick) status->first_tick = clock_ns(CLOCK_REALTIME);
		if (status->check != status->checked) {
			status->is_good = all_answer(others) && (!is_good || is_good());
			status->checked = status->check;
			last = now_ns();
		}
	}
}

/* Pseudo-random words (xorshift64): no page is like another. */
__attribute__((unused)) static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}
