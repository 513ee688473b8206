/** An ordinary program of the machine, for a warm-up: with an executable, libraries and registers as most processes have them. */
import { Program } from '../agent/program.ts';
import { AT_FDCWD, O_RDWR } from '../linux/abi/fcntl.ts';
import { PR_SET_PDEATHSIG } from '../linux/abi/prctl.ts';
import { CLONE_CLEAR_SIGHAND, CLONE_VFORK, CLONE_VM } from '../linux/abi/sched.ts';
import { SIG_SETMASK, SIGCHLD, SIGKILL } from '../linux/abi/signal.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { check } from '../linux/kernel.ts';
import { OwnProgram } from '../tracee/clone-agent.ts';
import { addStrings } from '../tracee/start-program.ts';
import { EXEC_FAILED } from '../tracee/stub.ts';

/** So long it may take until it sleeps. */
const STARTING_MS = 20;

/** Starts a program that sleeps, as a session of its own with /dev/null as its only file. It dies with us. Returns its pid. */
export function spawnProgram([path = '', ...args]: readonly string[]): number {
  const p = new Program();
  p.call(SYS.prctl, PR_SET_PDEATHSIG, SIGKILL);
  p.call(SYS.setsid);
  p.call(SYS.close_range, 0, 0xffff_ffff, 0);
  p.call(SYS.openat, AT_FDCWD, p.string('/dev/null'), O_RDWR);
  p.call(SYS.dup, 0);
  p.call(SYS.dup, 0);
  p.call(SYS.rt_sigprocmask, SIG_SETMASK, p.words(0), 0, 8);
  p.call(SYS.execve, p.string(path), addStrings(p, [path, ...args]), addStrings(p, []));
  p.call(SYS.exit, EXEC_FAILED);
  const own = new OwnProgram(p);
  const pid = own.clone({ flags: (CLONE_VM | CLONE_VFORK) + CLONE_CLEAR_SIGHAND, exitSignal: SIGCHLD });
  Bun.sleepSync(STARTING_MS);
  return check('clone3', pid, path);
}
