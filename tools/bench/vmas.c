/* COUNT mappings of one page each: neighbours differ in their protection, so that the kernel cannot merge them. */
#include "bench.h"

static char *start;
static long count;

static int is_good(void)
{
	long i;

	for (i = 0; i < count; i += 2)
		if (*(long *)(start + i * 4096) != i) return 0;
	return 1;
}

int main(int argc, char **argv)
{
	long i;

	bench_open(argc, argv);
	count = argument(argc, argv, 2);
	start = mmap(NULL, count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (start == MAP_FAILED) die("mmap");
	for (i = 0; i < count; i += 2) *(long *)(start + i * 4096) = i;
	for (i = 1; i < count; i += 2)
		if (mprotect(start + i * 4096, 4096, PROT_READ)) die("mprotect");
	bench_run(0, is_good);
}
