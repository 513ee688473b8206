/*
 * A very small shell on a pseudo terminal of its own, for tests of --shell-job. It is not checkpointed. Command N is read
 * from STATUS.cmdN, runs as a foreground job with the terminal as 0, 1, 2, and its exit status goes to STATUS.rcN. A
 * command that ends with "&" is not waited for. What appears on the terminal is appended to the file "screen".
 */
#include "selftest.h"
#include <sys/ioctl.h>
#include <termios.h>

static void write_file(const char *path, const char *text) {
  char aside[PATH_MAX];
  snprintf(aside, sizeof aside, "%s.part", path);
  int fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) _exit(95);
  close(fd);
  rename(aside, path);
}

static void run_job(const char *command, int number, int slave) {
  char path[PATH_MAX + 32], text[32];
  int background = command[strlen(command) - 1] == '&';
  pid_t pid = fork();
  if (pid == 0) {
    char own[PATH_MAX];
    setpgid(0, 0);
    tcsetpgrp(slave, getpid());
    signal(SIGTTOU, SIG_DFL), signal(SIGTTIN, SIG_DFL), signal(SIGHUP, SIG_DFL);
    snprintf(own, sizeof own, "exec %s", command);
    if (background) own[strlen(own) - 1] = 0;
    execl("/bin/sh", "sh", "-c", own, NULL);
    _exit(127);
  }
  setpgid(pid, pid);
  int status = 0;
  if (!background) {
    waitpid(pid, &status, 0);
    tcsetpgrp(slave, getpid());
  }
  snprintf(path, sizeof path, "%s.rc%d", st_base, number);
  snprintf(text, sizeof text, "%d %d\n", background ? 0 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), pid);
  write_file(path, text);
}

static void shell(int slave) {
  signal(SIGTTOU, SIG_IGN), signal(SIGTTIN, SIG_IGN), signal(SIGHUP, SIG_IGN);
  alarm(ST_LIFE_SECONDS);
  for (int number = 1;; number++) {
    char path[PATH_MAX + 32], command[4096] = "";
    snprintf(path, sizeof path, "%s.cmd%d", st_base, number);
    while (access(path, F_OK) != 0) {
      waitpid(-1, NULL, WNOHANG);
      usleep(2000);
      if (getppid() == 1) _exit(0);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, command, sizeof command - 1);
    close(fd);
    if (got > 0) run_job(command, number, slave);
  }
}

int main(int argc, char **argv) {
  st_init(argc, argv);
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  int slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC));
  MUST(ioctl(slave, TIOCSWINSZ, &(struct winsize){.ws_row = 25, .ws_col = 99}));
  if (MUST(fork()) == 0) {
    setsid();
    MUST(ioctl(slave, TIOCSCTTY, 0));
    for (int fd = 0; fd < 3; fd++) dup2(slave, fd);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    shell(slave);
  }
  alarm(ST_LIFE_SECONDS);
  int screen = MUST(open("screen", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  char text[64];
  snprintf(text, sizeof text, "ready 0 %d", getpid());
  st_publish(text);
  char buffer[4096];
  for (ssize_t got; (got = read(master, buffer, sizeof buffer)) > 0;)
    if (write(screen, buffer, (size_t)got) < 0) break;
}
