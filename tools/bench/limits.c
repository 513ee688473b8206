/* flags: -pthread */
/*
 * What the kernel alone takes for the main part of each workload, in one process without any criu: the least that a dump
 * or restore of this kind can cost on this machine. Prints a line for each: workload, time (median), what was done.
 *
 * Usage: limits FOLDER (on tmpfs; files in it are removed)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GIB (1UL << 30)
#define MIB (1UL << 20)
#define PAGE 4096UL
#define ROUNDS 5

static const char *folder;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Runs it some times; prints the middle one of the times that it returns. */
static void measure(const char *workload, const char *what, double (*run)(void))
{
	double times[ROUNDS];
	int i;

	for (i = 0; i < ROUNDS; i++) times[i] = run();
	qsort(times, ROUNDS, sizeof times[0], by_size);
	printf("%-16s%8.1f ms  %s\n", workload, times[ROUNDS / 2], what);
	fflush(stdout);
}

static void *map(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED) die("mmap");
	return memory;
}

static int scratch_file(int number)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof path, "%s/limit-%d", folder, number);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0) die(path);
	unlink(path);
	return fd;
}

/* Memory that was free for a while belongs to the host, and is slow when it is used first. */
static void touch_free(size_t bytes)
{
	char *memory = map(bytes);
	size_t i;

	for (i = 0; i < bytes; i += PAGE) memory[i] = 1;
	munmap(memory, bytes);
}

/* ---- memory ---- */

static char *gibibyte;

static void fill(void)
{
	uint64_t *words = map(GIB), state = 88172645463325252ull;
	size_t i;

	for (i = 0; i < GIB / 8; i++) {
		state ^= state << 13, state ^= state >> 7, state ^= state << 17;
		words[i] = state;
	}
	gibibyte = (char *)words;
}

static double fork_once(void)
{
	double begin = now_ms(), end;
	pid_t child = fork();

	if (child < 0) die("fork");
	if (child == 0) _exit(0);
	end = now_ms();
	waitpid(child, NULL, 0);
	return end - begin;
}

/* PAGEMAP_SCAN of what has pages of its own; see pagemap.rst. Older headers do not have it. */
static void scan_pages(pid_t pid, void *start, size_t bytes)
{
	static uint64_t regions[3 * 16384];
	uint64_t argument[12] = {sizeof argument, 0, (uint64_t)start, (uint64_t)start + bytes, 0, (uint64_t)regions, 16384};
	char path[64];
	int fd;

	argument[10] = 1 << 3 | 1 << 4; /* category_anyof_mask: PAGE_IS_PRESENT, PAGE_IS_SWAPPED */
	snprintf(path, sizeof path, "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0) die(path);
	if (ioctl(fd, 0xc0606610, argument) < 0) die("PAGEMAP_SCAN");
	close(fd);
}

struct part {
	int fd;
	size_t start, end;
};

static void *write_part(void *argument)
{
	struct part *part = argument;
	size_t at;

	for (at = part->start; at < part->end; at += MIB)
		if (pwrite(part->fd, gibibyte + at, MIB, at - part->start) != (ssize_t)MIB) die("pwrite");
	return NULL;
}

static double write_image(int threads)
{
	struct part parts[2] = {{scratch_file(0), 0, GIB / threads}, {scratch_file(1), GIB / 2, GIB}};
	pthread_t thread;
	double begin;

	touch_free(GIB + GIB / 4);
	begin = now_ms();
	if (threads == 2 && pthread_create(&thread, NULL, write_part, &parts[1]) != 0) die("pthread_create");
	write_part(&parts[0]);
	if (threads == 2) pthread_join(thread, NULL);
	begin = now_ms() - begin;
	close(parts[0].fd), close(parts[1].fd);
	return begin;
}

static double write_one(void) { return write_image(1); }
static double write_two(void) { return write_image(2); }

static int image;
static char *fresh;

static void *read_part(void *argument)
{
	struct part *part = argument;
	size_t at;

	for (at = part->start; at < part->end; at += MIB)
		if (pread(image, fresh + at, MIB, at) != (ssize_t)MIB) die("pread");
	return NULL;
}

static double read_image(void)
{
	struct part whole = {0, 0, GIB}, halves[2] = {{0, 0, GIB / 2}, {0, GIB / 2, GIB}};
	pthread_t thread;
	double begin;

	image = scratch_file(0);
	whole.fd = image;
	write_part(&whole);
	touch_free(GIB + GIB / 4);
	fresh = map(GIB);
	begin = now_ms();
	if (pthread_create(&thread, NULL, read_part, &halves[1]) != 0) die("pthread_create");
	read_part(&halves[0]);
	pthread_join(thread, NULL);
	begin = now_ms() - begin;
	munmap(fresh, GIB);
	close(image);
	return begin;
}

/* ---- mappings ---- */

#define MAPPINGS 10000

/* Divides one by its protection, from the end, and touches each second page; runs it, or returns how long that took. */
static double with_mappings(double (*run)(void))
{
	double time = now_ms();
	char *place = map(MAPPINGS * PAGE);
	int i;

	for (i = MAPPINGS - 1; i > 0; i -= 2)
		if (mprotect(place + i * PAGE, PAGE, PROT_READ)) die("mprotect");
	for (i = 0; i < MAPPINGS; i += 2) place[i * PAGE] = 1;
	time = run == NULL ? now_ms() - time : run();
	munmap(place, MAPPINGS * PAGE);
	return time;
}

static double read_all(const char *path)
{
	static char buffer[1 << 18];
	double begin = now_ms();
	int fd = open(path, O_RDONLY);

	if (fd < 0) die(path);
	while (read(fd, buffer, sizeof buffer) > 0) continue;
	close(fd);
	return now_ms() - begin;
}

static double read_smaps(void) { return read_all("/proc/self/smaps"); }
static double read_maps(void) { return read_all("/proc/self/maps"); }
static double make_mappings(void) { return with_mappings(NULL); }
static double smaps_of_mappings(void) { return with_mappings(read_smaps); }
static double maps_of_mappings(void) { return with_mappings(read_maps); }
static double fork_of_mappings(void) { return with_mappings(fork_once); }

static int ready[2];

static double stand_still(void)
{
	if (write(ready[1], "", 1) == 1) pause();
	_exit(1);
}

static double end_of_mappings(void)
{
	double begin;
	pid_t child;
	char byte;

	if (pipe(ready)) die("pipe");
	child = fork();
	if (child < 0) die("fork");
	if (child == 0) with_mappings(stand_still);
	if (read(ready[0], &byte, 1) != 1) die("read");
	begin = now_ms();
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(ready[0]);
	close(ready[1]);
	return now_ms() - begin;
}

/* ---- descriptors ---- */

#define FILES 10000

static double open_files(void)
{
	char path[PATH_MAX];
	double begin;
	int i, first = 0;

	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "%s/file-%d", folder, i);
		close(open(path, O_RDWR | O_CREAT, 0600));
	}
	begin = now_ms();
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "%s/file-%d", folder, i);
		int fd = open(path, O_RDWR);
		if (fd < 0) die(path);
		if (i == 0) first = fd;
		lseek(fd, i, SEEK_SET);
	}
	begin = now_ms() - begin;
	for (i = 0; i < FILES; i++) close(first + i);
	return begin;
}

static double look_at_files(void)
{
	char path[PATH_MAX], name[PATH_MAX];
	struct statx stat;
	double begin;
	int i, first = 0, self = syscall(SYS_pidfd_open, getpid(), 0);

	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "%s/file-%d", folder, i);
		int fd = open(path, O_RDWR | O_CREAT, 0600);
		if (fd < 0) die(path);
		if (i == 0) first = fd;
	}
	begin = now_ms();
	for (i = 0; i < FILES; i++) {
		int fd = syscall(SYS_pidfd_getfd, self, first + i, 0);
		if (fd < 0) die("pidfd_getfd");
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, name, sizeof name) < 0) die(path);
		if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stat) < 0) die("statx");
		lseek(fd, 0, SEEK_CUR);
		fcntl(fd, F_GETFL);
		close(fd);
	}
	begin = now_ms() - begin;
	for (i = 0; i < FILES; i++) {
		close(first + i);
		snprintf(path, sizeof path, "%s/file-%d", folder, i);
		unlink(path);
	}
	close(self);
	return begin;
}

#define PAIRS 1000

static double make_pipes(void)
{
	static char data[PAGE];
	double begin = now_ms();
	int ends[2], i, first = 0;

	for (i = 0; i < PAIRS; i++) {
		if (pipe(ends) < 0) die("pipe");
		if (i == 0) first = ends[0];
		if (write(ends[1], data, sizeof data) < 0) die("write");
	}
	begin = now_ms() - begin;
	for (i = 0; i < 2 * PAIRS; i++) close(first + i);
	return begin;
}

static double make_sockets(void)
{
	static char data[100];
	double begin = now_ms();
	int ends[2], i, first = 0;

	for (i = 0; i < PAIRS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) die("socketpair");
		if (i == 0) first = ends[0];
		if (send(ends[0], data, sizeof data, 0) < 0) die("send");
	}
	begin = now_ms() - begin;
	for (i = 0; i < 2 * PAIRS; i++) close(first + i);
	return begin;
}

/* ---- TCP connections ---- */

#define CONNECTIONS 200
#define ENDS (2 * CONNECTIONS)

static int ends[ENDS];
static struct sockaddr_in names[ENDS];

static void connect_all(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), i;
	socklen_t length = sizeof address;

	if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, CONNECTIONS) < 0) die("listen");
	getsockname(listener, (struct sockaddr *)&address, &length);
	for (i = 0; i < ENDS; i += 2) {
		ends[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(ends[i], (struct sockaddr *)&address, length) < 0) die("connect");
		ends[i + 1] = accept(listener, NULL, NULL);
		if (ends[i + 1] < 0 || send(ends[i], "message", 8, 0) < 0) die("accept");
	}
	for (i = 0; i < ENDS; i++) {
		length = sizeof names[i];
		getsockname(ends[i], (struct sockaddr *)&names[i], &length);
	}
	close(listener);
}

static void set_tcp(int fd, int option, int value)
{
	if (setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value) < 0) die("setsockopt");
}

static void get_tcp(int fd, int option)
{
	char value[64];
	socklen_t length = option == TCP_REPAIR_WINDOW ? sizeof(struct tcp_repair_window) : 8;

	if (getsockopt(fd, IPPROTO_TCP, option, value, &length) < 0) die("getsockopt");
}

/* As many options of each level as a dump keeps. */
static void ask_for_options(int fd)
{
	static const int kinds[][3] = {{SOL_SOCKET, SO_SNDBUF, 46}, {IPPROTO_IP, IP_TTL, 24}, {IPPROTO_TCP, TCP_NODELAY, 22}};
	unsigned kind;
	int i;

	for (kind = 0; kind < 3; kind++)
		for (i = 0; i < kinds[kind][2]; i++) {
			int value;
			socklen_t length = sizeof value;
			if (getsockopt(fd, kinds[kind][0], kinds[kind][1], &value, &length) < 0) die("getsockopt");
		}
}

static void read_queue(int fd, int queue)
{
	char data[64];
	int count;

	set_tcp(fd, TCP_REPAIR, 1);
	get_tcp(fd, TCP_REPAIR_WINDOW), get_tcp(fd, TCP_INFO);
	ioctl(fd, SIOCOUTQ, &count), ioctl(fd, SIOCINQ, &count);
	set_tcp(fd, TCP_REPAIR_QUEUE, queue);
	get_tcp(fd, TCP_QUEUE_SEQ), get_tcp(fd, TCP_QUEUE_SEQ);
	recv(fd, data, sizeof data, MSG_PEEK | MSG_DONTWAIT);
	get_tcp(fd, TCP_TIMESTAMP), get_tcp(fd, TCP_MAXSEG);
	set_tcp(fd, TCP_REPAIR, -1);
}

static void *ask_half(void *argument)
{
	struct part *part = argument;
	size_t i;

	for (i = part->start; i < part->end; i++) ask_for_options(ends[i]);
	return NULL;
}

static double read_connections(void)
{
	struct part halves[2] = {{-1, 0, ENDS / 2}, {-1, ENDS / 2, ENDS}};
	double begin = now_ms();
	pthread_t thread;
	int i;

	if (pthread_create(&thread, NULL, ask_half, &halves[1]) != 0) die("pthread_create");
	ask_half(&halves[0]);
	pthread_join(thread, NULL);
	for (i = 0; i < ENDS; i++) read_queue(ends[i], TCP_SEND_QUEUE);
	for (i = 0; i < ENDS; i++) read_queue(ends[i], TCP_RECV_QUEUE);
	return now_ms() - begin;
}

/* Replaces the connections by others that look the same. */
static double make_connections(void)
{
	static const int queues[] = {TCP_SEND_QUEUE, TCP_RECV_QUEUE};
	struct tcp_repair_opt options[] = {{4, 0}, {3, 7 | 7 << 16}, {2, 1460}};
	int zero = 0, large = 1 << 20, i, queue;
	double begin;

	for (i = 0; i < ENDS; i++) set_tcp(ends[i], TCP_REPAIR, 1), close(ends[i]);
	begin = now_ms();
	for (i = 0; i < ENDS; i++) {
		int fd = ends[i] = socket(AF_INET, SOCK_STREAM, 0);

		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
		set_tcp(fd, TCP_REPAIR, 1);
		if (bind(fd, (struct sockaddr *)&names[i], sizeof names[i]) < 0) die("bind");
		for (queue = 0; queue < 2; queue++) set_tcp(fd, TCP_REPAIR_QUEUE, queues[queue]), set_tcp(fd, TCP_QUEUE_SEQ, 4711);
		if (connect(fd, (struct sockaddr *)&names[i ^ 1], sizeof names[i]) < 0) die("connect");
		if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options, sizeof options) < 0) die("TCP_REPAIR_OPTIONS");
		if ((i & 1) != 0 && send(fd, "message", 8, 0) < 0) die("send");
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
		set_tcp(fd, TCP_REPAIR, -1);
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
		setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &zero, sizeof zero);
	}
	return now_ms() - begin;
}

/* ---- threads and tasks ---- */

#define THREADS 1000

static void *sleep_for_ever(void *argument)
{
	for (;;) pause();
	return argument;
}

static pid_t with_threads(int count, double *time)
{
	int ready[2], i;
	pid_t child;

	if (pipe(ready) < 0) die("pipe");
	child = fork();
	if (child < 0) die("fork");
	if (child == 0) {
		pthread_attr_t attributes;
		pthread_t thread;
		double begin;

		munmap(gibibyte, GIB);
		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 16384);
		begin = now_ms();
		for (i = 0; i < count; i++)
			if (pthread_create(&thread, &attributes, sleep_for_ever, NULL) != 0) _exit(1);
		begin = now_ms() - begin;
		if (write(ready[1], &begin, sizeof begin) < 0) _exit(1);
		sleep_for_ever(NULL);
	}
	if (read(ready[0], time, sizeof *time) != sizeof *time) die("the threads");
	close(ready[0]), close(ready[1]);
	return child;
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	while (waitpid(child, NULL, __WALL) == child) break;
}

static double make_threads(void)
{
	double time;

	end(with_threads(THREADS, &time));
	return time;
}

static double stop_threads(void)
{
	static pid_t tids[THREADS + 1];
	static char xstate[16384];
	double begin, unused;
	pid_t child = with_threads(THREADS, &unused);
	int count = 0, i, status;
	struct dirent *entry;
	char path[64];
	DIR *threads;

	snprintf(path, sizeof path, "/proc/%d/task", child);
	threads = opendir(path);
	if (threads == NULL) die(path);
	while ((entry = readdir(threads)) != NULL && count <= THREADS)
		if (entry->d_name[0] != '.') tids[count++] = atoi(entry->d_name);
	closedir(threads);
	begin = now_ms();
	for (i = 0; i < count; i++)
		if (ptrace(PTRACE_SEIZE, tids[i], 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, tids[i], 0, 0) < 0) die("ptrace");
	for (i = 0; i < count; i++)
		if (waitpid(tids[i], &status, __WALL) != tids[i]) die("waitpid");
	for (i = 0; i < count; i++) {
		struct iovec registers = {xstate, sizeof xstate};
		ptrace(PTRACE_GETREGSET, tids[i], 1, &registers);
		registers.iov_len = sizeof xstate;
		ptrace(PTRACE_GETREGSET, tids[i], 0x202, &registers);
	}
	for (i = 0; i < count; i++) ptrace(PTRACE_DETACH, tids[i], 0, 0);
	begin = now_ms() - begin;
	end(child);
	return begin;
}

#define TASKS 100

/* What is done to them: each takes its time. */
struct tree_times {
	double fork, stop, end;
};

/* Seizes and stops all, reads their registers, and looks for their pages. */
static double stop_tasks(const pid_t *tasks)
{
	struct user_regs_struct registers;
	double begin = now_ms();
	int i;

	for (i = 0; i < TASKS; i++) {
		ptrace(PTRACE_SEIZE, tasks[i], 0, 0);
		ptrace(PTRACE_INTERRUPT, tasks[i], 0, 0);
	}
	for (i = 0; i < TASKS; i++) {
		waitpid(tasks[i], NULL, __WALL);
		ptrace(PTRACE_GETREGS, tasks[i], 0, &registers);
		scan_pages(tasks[i], gibibyte, 32 * MIB);
	}
	return now_ms() - begin;
}

/* With a process that shares 32 MiB with all of them. */
static struct tree_times with_tasks(void)
{
	struct tree_times times = {0, 0, 0};
	int ready[2];
	pid_t child;

	if (pipe(ready) < 0) die("pipe");
	child = fork();
	if (child < 0) die("fork");
	if (child == 0) {
		pid_t tasks[TASKS];
		int i;

		munmap(gibibyte + 32 * MIB, GIB - 32 * MIB);
		times.fork = now_ms();
		for (i = 0; i < TASKS; i++) {
			tasks[i] = fork();
			if (tasks[i] == 0) sleep_for_ever(NULL);
			if (tasks[i] < 0) die("fork");
		}
		times.fork = now_ms() - times.fork;
		times.stop = stop_tasks(tasks);
		times.end = now_ms();
		for (i = 0; i < TASKS; i++) kill(tasks[i], SIGKILL);
		for (i = 0; i < TASKS; i++) waitpid(tasks[i], NULL, __WALL);
		times.end = now_ms() - times.end;
		_exit(write(ready[1], &times, sizeof times) != sizeof times);
	}
	close(ready[1]);
	if (read(ready[0], &times, sizeof times) != sizeof times) die("the tasks");
	close(ready[0]);
	waitpid(child, NULL, 0);
	return times;
}

static double fork_tasks(void) { return with_tasks().fork; }
static double freeze_tasks(void) { return with_tasks().stop; }
static double end_tasks(void) { return with_tasks().end; }

/* ---- 16 GiB of which each 512th page is there ---- */

#define SPARSE (16 * GIB)
#define STEP (512 * PAGE)

static char *sparse;

static void *write_sparse(void *argument)
{
	struct part *part = argument;
	struct iovec pages[64];
	char buffer[64 * PAGE];
	struct iovec local = {buffer, sizeof buffer};
	size_t at = part->start, done = 0;
	int i;

	for (; at < part->end; done += sizeof buffer) {
		for (i = 0; i < 64; i++, at += STEP) pages[i] = (struct iovec){sparse + at, PAGE};
		if (process_vm_readv(getpid(), &local, 1, pages, 64, 0) != sizeof buffer) die("process_vm_readv");
		if (pwrite(part->fd, buffer, sizeof buffer, done) != sizeof buffer) die("pwrite");
	}
	return NULL;
}

/* With the memory; returns how long one of these takes: to find its pages, to copy them, to give it back. */
static double with_sparse(int which)
{
	struct part parts[2] = {{scratch_file(0), 0, SPARSE / 2}, {scratch_file(1), SPARSE / 2, SPARSE}};
	double begin, times[3];
	pthread_t thread;
	size_t at;

	sparse = map(SPARSE);
	madvise(sparse, SPARSE, MADV_NOHUGEPAGE);
	for (at = 0; at < SPARSE; at += STEP) sparse[at] = 1;
	touch_free(64 * MIB);
	begin = now_ms();
	scan_pages(getpid(), sparse, SPARSE);
	times[0] = now_ms() - begin;
	begin = now_ms();
	if (pthread_create(&thread, NULL, write_sparse, &parts[1]) != 0) die("pthread_create");
	write_sparse(&parts[0]);
	pthread_join(thread, NULL);
	times[1] = now_ms() - begin;
	begin = now_ms();
	munmap(sparse, SPARSE);
	times[2] = now_ms() - begin;
	close(parts[0].fd), close(parts[1].fd);
	return times[which];
}

static double scan_sparse(void) { return with_sparse(0); }
static double copy_sparse(void) { return with_sparse(1); }
static double end_sparse(void) { return with_sparse(2); }

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	folder = argv[1];
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	fill();
	measure("memory-1g", "dump: write the memory to a file, one thread", write_one);
	measure("memory-1g", "dump: write the memory to two files, a thread each", write_two);
	measure("memory-1g", "dump -R, freeze: fork", fork_once);
	measure("memory-1g", "restore: read a file into new memory, two threads", read_image);
	measure("procs-100-cow", "restore: fork 100 tasks that share 32 MiB", fork_tasks);
	measure("procs-100-cow", "dump -R, freeze: stop them, registers, look for their pages", freeze_tasks);
	measure("procs-100-cow", "dump: their end", end_tasks);
	measure("threads-1000", "dump: stop, registers, FPU state, let go", stop_threads);
	measure("threads-1000", "restore: make them", make_threads);
	munmap(gibibyte, GIB);
	measure("sparse-16g", "dump: look for the pages", scan_sparse);
	measure("sparse-16g", "dump: copy them to two files, a thread each", copy_sparse);
	measure("sparse-16g", "dump: give the memory back", end_sparse);
	measure("vmas-10k", "dump: read smaps", smaps_of_mappings);
	measure("vmas-10k", "dump: read maps", maps_of_mappings);
	measure("vmas-10k", "dump: the end of the task", end_of_mappings);
	measure("vmas-10k", "dump -R, freeze: fork", fork_of_mappings);
	measure("vmas-10k", "restore: map, and touch each second page", make_mappings);
	measure("fds-10k", "dump: pidfd_getfd, readlink, statx, lseek, F_GETFL, close", look_at_files);
	measure("fds-10k", "restore: open, lseek", open_files);
	measure("pipes-1k", "restore: pipe, write 4 KiB", make_pipes);
	measure("unix-1k", "restore: socketpair, send", make_sockets);
	connect_all();
	measure("tcp-200", "dump, freeze: options by two threads, both queues in repair mode", read_connections);
	measure("tcp-200", "restore: make them in repair mode", make_connections);
	return 0;
}
