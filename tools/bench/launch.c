/*
 * Runs one command and measures it: launch RESULT-FILE TOUCH-MIB COMMAND...
 *
 * First it touches and frees TOUCH-MIB of memory: a virtual machine with free page reporting gives pages that were free
 * for a while back to its host, and fetching one again costs ten times more than the first use of a page should.
 * Writes "START END STATUS REALTIME\n" to the result file: CLOCK_MONOTONIC in ns, wait status, CLOCK_REALTIME at the start.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void touch(size_t bytes)
{
	volatile char *memory;
	size_t i;

	if (!bytes) return;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) return;
	for (i = 0; i < bytes; i += 4096) memory[i] = 1;
	munmap((void *)memory, bytes);
}

int main(int argc, char **argv)
{
	uint64_t realtime, start, end;
	int status = -1;
	FILE *result;
	pid_t pid;

	if (argc < 4) return 2;
	touch((size_t)strtol(argv[2], NULL, 10) << 20);
	realtime = now_ns(CLOCK_REALTIME);
	start = now_ns(CLOCK_MONOTONIC);
	pid = vfork();
	if (pid == 0) {
		execv(argv[3], argv + 3);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) return 2;
	end = now_ns(CLOCK_MONOTONIC);
	result = fopen(argv[1], "w");
	if (!result) return 2;
	fprintf(result, "%llu %llu %d %llu\n", (unsigned long long)start, (unsigned long long)end, status,
		(unsigned long long)realtime);
	return fclose(result) ? 2 : 0;
}
