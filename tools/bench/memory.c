/* MIB of anonymous memory with random content. With a second argument STEP, only every STEPth page is touched. */
#include "bench.h"

static uint64_t *words, count, stride;

static uint64_t checksum(void)
{
	uint64_t sum = 0, i, w;

	for (i = 0; i < count; i += stride)
		for (w = 0; w < 512; w++) sum = sum * 31 + words[i + w];
	return sum;
}

static uint64_t expected;

static int is_good(void)
{
	return checksum() == expected;
}

int main(int argc, char **argv)
{
	uint64_t state = 88172645463325252ull, i, w;

	bench_open(argc, argv);
	count = (uint64_t)argument(argc, argv, 2) << 17;
	stride = 512 * (argc > 3 ? argument(argc, argv, 3) : 1);
	words = mmap(NULL, count * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (words == MAP_FAILED) die("mmap");
	for (i = 0; i < count; i += stride)
		for (w = 0; w < 512; w++) words[i + w] = next_random(&state);
	expected = checksum();
	bench_run(0, is_good);
}
