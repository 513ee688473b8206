/* COUNT pipes with 4 KiB of data each, both ends open. */
#include "bench.h"
#include <sys/ioctl.h>
#include <sys/resource.h>

static long count;

static int is_good(void)
{
	char bytes[4096];
	long i;
	int waiting;

	for (i = 0; i < count; i++) {
		if (ioctl(3 + 2 * i, FIONREAD, &waiting) || waiting != 4096) return 0;
		if (read(3 + 2 * i, bytes, 4096) != 4096 || bytes[7] != (char)i) return 0;
		if (write(4 + 2 * i, bytes, 4096) != 4096) return 0;
	}
	return 1;
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	char bytes[4096];
	long i;
	int ends[2];

	bench_open(argc, argv);
	count = argument(argc, argv, 2);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (i = 0; i < count; i++) {
		if (pipe(ends) || ends[0] != 3 + 2 * i) die("pipe");
		memset(bytes, (char)i, sizeof(bytes));
		if (write(ends[1], bytes, sizeof(bytes)) != sizeof(bytes)) die("write");
	}
	bench_run(0, is_good);
}
