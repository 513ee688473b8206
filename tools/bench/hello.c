/* flags: -static */
/* A small static program: what a checkpoint costs when there is nothing to save. */
#include "bench.h"

int main(int argc, char **argv)
{
	bench_open(argc, argv);
	bench_run(0, NULL);
}
