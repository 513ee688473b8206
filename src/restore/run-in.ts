/** Programs in tasks that are being built, and helpers; an error has the task's name instead of its number. */
import { Program } from '../agent/program.ts';
import { CriuError } from '../base/errors.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { tryWait } from '../linux/syscalls/process.ts';
import type { HostTask } from '../tracee/host.ts';

export function runIn(host: HostTask, label: string, program: Program): void {
  host.start(program);
  finishIn(host, label);
}

export function finishIn(host: HostTask, label: string): void {
  withLabel(label, () => host.finish());
}

/** Errors of the work name the task as people know it. */
export function withLabel(label: string, work: () => void): void {
  try {
    work();
  } catch (error) {
    throw named(error, label);
  }
}

/** The same error with the task's name instead of its number. */
export function named(error: unknown, label: string): unknown {
  return error instanceof CriuError ? new CriuError({ ...error.fields, object: label }) : error;
}

/** Lets a helper die; its parent can reap it then. */
export function endHelper(helper: HostTask): void {
  const program = new Program();
  program.call(SYS.exit_group, 0);
  program.stop();
  helper.start(program);
  tryWait(helper.pid);
}
