/** One agent program in a running task: one of its threads is stopped for it, and runs on as it was. */
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { readFile, tryListDirectory, tryReadFile } from '../linux/syscalls/fs.ts';
import { parseStat } from '../proc/stat.ts';
import { writeSyscallDispatch } from '../resources/task/syscall-dispatch.ts';
import { readThreads } from '../resources/task/thread-probe.ts';
import { Guest, type VisitResult } from '../tracee/guest.ts';
import { detach, interrupt, seize, waitForTrap } from '../tracee/stop.ts';
import { agentPlacesIn } from './agent-places.ts';

/**
 * Runs a program in a thread that can be stopped; the first one comes first. Undefined when the task is gone.
 * @throws CriuError or SyscallError when no thread can be stopped, or the task gives the agent no place
 */
export function runInTask(pid: number, add: (program: Program) => void): VisitResult | undefined {
  const tids = tryListDirectory(`/proc/${pid}/task`);
  if (typeof tids === 'number') return undefined;
  let isAlive = false;
  for (const tid of tids.map(Number)) {
    const state = threadState(pid, tid);
    if (state === undefined || state === 'Z' || state === 'X') continue;
    isAlive = true;
    // One that waits in the kernel and can't be interrupted (for the end of a vfork, say) would make us wait as well.
    if (!'RSTt'.includes(state) || seize(tid) === 'gone') continue;
    interrupt(tid);
    if (waitForTrap(tid) === 'gone') continue;
    try {
      return visit(pid, tid, add);
    } finally {
      detach(tid);
    }
  }
  if (!isAlive) return undefined;
  throw new CriuError({ object: `task ${pid}`, action: 'has no thread that can be stopped' });
}

function visit(pid: number, tid: number, add: (program: Program) => void): VisitResult | undefined {
  const [thread] = readThreads([{ pid, tids: [tid] }]);
  if (thread === undefined) return undefined;
  const { dispatch } = thread;
  if (dispatch !== undefined) writeSyscallDispatch(tid, undefined);
  const maps = `/proc/${pid}/maps`;
  try {
    using guest = new Guest(thread, agentPlacesIn(readFile(maps), maps), thread.status.sigCgt);
    const program = new Program();
    add(program);
    return guest.run([{ thread, program }])[0];
  } finally {
    if (dispatch !== undefined) writeSyscallDispatch(tid, dispatch);
  }
}

function threadState(pid: number, tid: number): string | undefined {
  const path = `/proc/${pid}/task/${tid}/stat`;
  const text = tryReadFile(path);
  return typeof text === 'string' ? parseStat(text, path).state : undefined;
}
