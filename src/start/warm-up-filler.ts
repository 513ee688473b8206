/**
 * The filler of a run-at-once restore (pages/filler.ts), for a warm-up: it fills memory of this process, which is all the tree
 * there is.
 */
import { Program } from '../agent/program.ts';
import { createLogSink } from '../cli/startup.ts';
import { O_CLOEXEC, O_CREAT, O_NONBLOCK, O_RDWR } from '../linux/abi/fcntl.ts';
import { MAP_ANONYMOUS, MAP_PRIVATE, MFD_CLOEXEC, PROT_READ, PROT_WRITE } from '../linux/abi/mman.ts';
import { CLONE_VM } from '../linux/abi/sched.ts';
import { SIGCHLD } from '../linux/abi/signal.ts';
import { SOCK_SEQPACKET } from '../linux/abi/socket.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { UFFD_FEATURE_THREAD_ID, UFFDIO_REGISTER_MODE_MISSING } from '../linux/abi/userfaultfd.ts';
import { check, cString, syscall } from '../linux/kernel.ts';
import { close, open } from '../linux/syscalls/fs.ts';
import { unixSocketPair } from '../linux/syscalls/messages.ts';
import { mmap, munmap } from '../linux/syscalls/mm.ts';
import { getpid, tryWait } from '../linux/syscalls/process.ts';
import { tryUffdApi, tryUffdRegister, tryUserfaultfd } from '../linux/syscalls/userfaultfd.ts';
import { fillFor } from '../pages/filler.ts';
import { sendOrder } from '../pages/filler-link.ts';
import { OwnProgram } from '../tracee/clone-agent.ts';

const BYTES = 4 << 20;
const ROUNDS = 20;
/** Pages that a thread waits for. */
const WANTED = [BYTES / 2, 0];

/** Throws SyscallError where memory can't be filled so. `folder` is for the log. */
export function warmUpFiller(folder: string): void {
  for (let round = 0; round < ROUNDS; round++) fillOnce(folder);
}

function fillOnce(folder: string): void {
  const sink = createLogSink();
  const log = open(`${folder}/fill.log`, O_RDWR | O_CREAT | O_CLOEXEC, 0o600);
  sink.open(log);
  const area = mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const uffd = check('userfaultfd', tryUserfaultfd(O_CLOEXEC | O_NONBLOCK));
  // Without messages about forks: the guard is one.
  check('UFFDIO_API', tryUffdApi(uffd, UFFD_FEATURE_THREAD_ID));
  check('UFFDIO_REGISTER', tryUffdRegister(uffd, area, BYTES, UFFDIO_REGISTER_MODE_MISSING));
  const content = check('memfd_create', syscall(SYS.memfd_create, cString('criu-warm-up'), MFD_CLOEXEC));
  check('ftruncate', syscall(SYS.ftruncate, content, BYTES));
  const [ours, theirs] = unixSocketPair(SOCK_SEQPACKET);
  const pid = getpid();
  const path = '/content';
  const order = sendOrder(ours, {
    logLevel: 4,
    pids: [pid],
    files: [{ path, fd: content }],
    tasks: [
      {
        pid,
        label: 'the warm-up',
        uffd,
        ranges: [{ start: area, end: area + BYTES }],
        runs: [{ address: area, bytes: BYTES, file: path, offset: 0 }],
      },
    ],
  });
  const program = new Program();
  for (const offset of WANTED) program.store64(area + offset, 1);
  program.call(SYS.exit, 0);
  const waiting = new OwnProgram(program);
  const child = check('clone3', waiting.clone({ flags: CLONE_VM, exitSignal: SIGCHLD }));
  // The restore is over as soon as it has begun.
  close(ours);
  fillFor(pid, theirs, sink);
  tryWait(child);
  for (const fd of [order, content, uffd, log]) close(fd);
  munmap(area, BYTES);
}
