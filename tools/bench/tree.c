/*
 * COUNT tasks below the main one, in two levels: each of the first ten forks its share. With a third argument, MIB of
 * random memory that all of them share copy-on-write; each checks it.
 */
#include "bench.h"

static uint64_t *words, count_words, expected;

static uint64_t checksum(void)
{
	uint64_t sum = 0, i;

	for (i = 0; i < count_words; i++) sum = sum * 31 + words[i];
	return sum;
}

static int is_good(void)
{
	return !words || checksum() == expected;
}

int main(int argc, char **argv)
{
	long count, branches, made = 0, i, k;
	uint64_t state = 88172645463325252ull, w;

	bench_open(argc, argv);
	count = argument(argc, argv, 2);
	if (argc > 3) {
		count_words = (uint64_t)argument(argc, argv, 3) << 17;
		words = mmap(NULL, count_words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (words == MAP_FAILED) die("mmap");
		for (w = 0; w < count_words; w++) words[w] = next_random(&state);
		expected = checksum();
	}
	branches = count < 10 ? count : 10;
	for (i = 0; i < branches; i++) {
		long below = count / branches - 1 + (i < count % branches);
		pid_t pid = fork();
		if (pid < 0) die("fork");
		if (pid == 0) {
			for (k = 0; k < below; k++)
				if (fork() == 0) break;
			bench_sleep(is_good);
		}
		made += 1 + below;
	}
	usleep(200000);
	bench_run(made, is_good);
}
