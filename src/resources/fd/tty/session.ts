/**
 * Sessions and their controlling terminals (man 2 TIOCSCTTY, setsid, tcsetpgrp).
 *
 * A leader takes its terminal when it becomes a leader, while it has nothing open: children that it forks later are born
 * with the terminal, and /dev/tty can be opened. The foreground group is set once all groups exist.
 */
import type { Program } from '../../../agent/program.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { TIOCSCTTY, TIOCSPGRP } from '../../../linux/abi/tty.ts';
import type { TerminalsPlan } from '../../../restore/context.ts';
import type { RestoreContext } from '../file-kind.ts';
import { terminalHolder } from './holder.ts';

/** Argument of TIOCSCTTY: whether to take the terminal from a session that has it. */
const FORCE = 1;
const NO_FORCE = 0;

/** The part of the restore that sessions need. */
export function planTerminals(context: RestoreContext): TerminalsPlan {
  return {
    addControl: (program, pid) => addControl(program, pid, context),
    addForegroundGroup: (program, pid, pgid) => addForegroundGroup(program, pid, pgid, context),
    bringToForeground: (pgrp) => terminalHolder(context).bringToForeground(pgrp),
  };
}

/** Adds the ops by which session leader `pid` takes its controlling terminal, if it has one. */
function addControl(program: Program, pid: number, context: RestoreContext): void {
  const terminal = terminalHolder(context).sessionOf(pid);
  if (terminal === undefined) return;
  withDescriptor(program, terminal.fd, context, (fd) => {
    if (terminal.isOptional) program.call(SYS.ioctl, fd, TIOCSCTTY, NO_FORCE);
    else program.must('take the controlling terminal', SYS.ioctl, fd, TIOCSCTTY, FORCE);
  });
}

/** Adds the ops by which session leader `pid` sets the foreground group, if that is not its own; false: nothing to do. */
function addForegroundGroup(program: Program, pid: number, pgid: number, context: RestoreContext): boolean {
  const terminal = terminalHolder(context).sessionOf(pid);
  if (terminal === undefined || terminal.pgrp === 0 || terminal.pgrp === pgid) return false;
  const { pgrp } = terminal;
  if (!context.tree.members.some((member) => member.pgid === pgrp)) return false;
  const group = program.data(new Uint8Array(Int32Array.of(pgrp).buffer));
  withDescriptor(program, terminal.fd, context, (fd) => {
    if (terminal.isOptional) program.call(SYS.ioctl, fd, TIOCSPGRP, group);
    else program.must(`make group ${pgrp} the foreground job`, SYS.ioctl, fd, TIOCSPGRP, group);
  });
  return true;
}

function withDescriptor(
  program: Program,
  controllerFd: number,
  { controllerPid }: RestoreContext,
  use: (fd: ReturnType<Program['must']>) => void,
): void {
  const pidfd = program.must('refer to criu', SYS.pidfd_open, controllerPid, 0);
  const fd = program.must('fetch a terminal', SYS.pidfd_getfd, pidfd, controllerFd, 0);
  use(fd);
  program.must('close the terminal', SYS.close, fd);
  program.must('close the reference to criu', SYS.close, pidfd);
}
