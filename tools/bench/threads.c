/* flags: -pthread */
/* COUNT threads besides the main one, all asleep. */
#include "bench.h"
#include <pthread.h>

static void *sleeper(void *unused)
{
	(void)unused;
	bench_sleep(NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	long count, i;
	pthread_attr_t attr;

	bench_open(argc, argv);
	count = argument(argc, argv, 2);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 * 1024);
	for (i = 0; i < count; i++) {
		pthread_t thread;
		if (pthread_create(&thread, &attr, sleeper, NULL)) die("pthread_create");
	}
	usleep(100000);
	bench_run(count, NULL);
}
