/* COUNT descriptors of regular files, each with an offset of its own. */
#include "bench.h"
#include <sys/resource.h>
#include <sys/stat.h>

static long count;

static int is_good(void)
{
	long i;

	for (i = 0; i < count; i++)
		if (lseek(3 + i, 0, SEEK_CUR) != i % 4096) return 0;
	return 1;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	char name[PATH_MAX];
	long i;

	bench_open(argc, argv);
	count = argument(argc, argv, 2);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s.%ld", argv[1], i % 100);
		if (open(name, O_RDWR | O_CREAT, 0600) != 3 + i) die(name);
		lseek(3 + i, i % 4096, SEEK_SET);
	}
	bench_run(0, is_good);
}
