/**
 * Action scripts: programs of the user that run at certain points (hooks) of a dump or restore.
 *
 * A script gets no arguments; the environment says which hook it is (CRTOOLS_SCRIPT_ACTION), where the images are
 * (CRTOOLS_IMAGE_DIR) and, once known, the pid of the root task (CRTOOLS_INIT_PID). Its stdin is empty and its output
 * goes to the log, as in CRIU. Several scripts run in the order they were given (CRIU runs the last one first); all of
 * them run even when one fails.
 *
 * The client of a request (RPC) with notify_scripts is asked before any script; when it refuses, no script runs.
 */

import { CriuError, type CriuErrorFields, CriuErrors } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { signalName } from '../linux/abi/signal.ts';
import { WEXITSTATUS, WIFSIGNALED, WTERMSIG } from '../linux/abi/wait.ts';
import { readFile } from '../linux/syscalls/fs.ts';
import { tryRunProgram } from '../tracee/start-program.ts';

export type Hook =
  | 'pre-stream'
  | 'pre-dump'
  | 'post-dump'
  | 'pre-restore'
  | 'post-restore'
  | 'network-lock'
  | 'network-unlock'
  | 'setup-namespaces'
  | 'post-setup-namespaces'
  | 'pre-resume'
  | 'post-resume'
  | 'orphan-pts-master'
  | 'status-ready'
  | 'query-ext-files';

/** Tells a client of a hook and waits for its answer; returns why the work must not go on, or undefined. */
export type Notify = (hook: Hook, initPid: number | undefined) => string | undefined;

export interface ScriptRun {
  /** --action-script, byte strings. */
  readonly scripts: readonly string[];
  readonly hook: Hook;
  readonly imagesDir: string;
  /** Pid of the root task as criu sees it; undefined before it exists. */
  readonly initPid?: number | undefined;
  readonly log: Logger;
  /** Where output goes; the log's descriptor. */
  readonly outputFd: number;
  readonly notify?: Notify | undefined;
}

/**
 * Runs all scripts for a hook. Throws CriuError when one fails, or CriuErrors when several do. The exit status of the
 * error is 1: only post-dump hands the script's own status on, see `postDumpStatus`.
 */
export function runActionScripts(run: ScriptRun): void {
  const failures = runAll(run).map((failure) => failure.fields);
  const [first] = failures;
  if (first === undefined) return;
  if (failures.length === 1) throw new CriuError(first);
  throw new CriuErrors(`${failures.length} action scripts failed for hook ${run.hook}`, failures);
}

/**
 * The post-dump hook of a dump that has succeeded: a script that fails means "do not kill the tree". Returns 0, or the
 * status with which criu must end after letting the tree run on; the failures are in the log.
 */
export function postDumpStatus(run: Omit<ScriptRun, 'hook'>): number {
  const failures = runAll({ ...run, hook: 'post-dump' });
  for (const { fields } of failures) run.log.error(new CriuError(fields).message);
  return failures[0]?.status ?? 0;
}

interface Failure {
  /** As a shell counts: 128 + N after signal N, 127 when the script cannot be started. */
  readonly status: number;
  readonly fields: CriuErrorFields;
}

function runAll(run: ScriptRun): Failure[] {
  const { scripts, hook, log } = run;
  log.debug(`Running ${hook} scripts`);
  const refusal = run.notify?.(hook, run.initPid);
  if (refusal !== undefined) return [{ status: 1, fields: { action: refusal } }];
  if (scripts.length === 0) return [];
  log.flush();
  const failures: Failure[] = [];
  for (const script of scripts) {
    log.debug(`\t[${script}]`);
    const failure = tryRunScript(script, run);
    if (failure !== undefined) failures.push(failure);
  }
  return failures;
}

function tryRunScript(script: string, run: ScriptRun): Failure | undefined {
  const { hook } = run;
  const status = tryExecute(script, run);
  if (status < 0) return failed(script, hook, 127, `cannot be started for hook ${hook}: ${errnoName(-status)}`);
  if (WIFSIGNALED(status)) {
    const signal = WTERMSIG(status);
    return failed(script, hook, 128 + signal, `was killed by ${signalName(signal)} in hook ${hook}`);
  }
  const code = WEXITSTATUS(status);
  return code === 0 ? undefined : failed(script, hook, code, `exited with ${code} in hook ${hook}`);
}

/** The status as wait(2) has it, or −errno. As execvp(3): a name is looked for in the PATH, a shell reads plain text. */
function tryExecute(script: string, run: ScriptRun): number {
  const environment = environmentOf(run);
  const { outputFd } = run;
  let status = -ERRNO.ENOENT;
  for (const path of script.includes('/') ? [script] : pathsOf(script, environment)) {
    status = tryRunProgram({ path, words: [script], environment, outputFd });
    const shell = '/bin/sh';
    if (status === -ERRNO.ENOEXEC) {
      return tryRunProgram({ path: shell, words: [shell, path], environment, outputFd });
    }
    if (status >= 0) return status;
  }
  return status;
}

function pathsOf(name: string, environment: readonly string[]): string[] {
  const path = environment.find((text) => text.startsWith('PATH=')) ?? 'PATH=/bin:/usr/bin';
  return path
    .slice('PATH='.length)
    .split(':')
    .map((folder) => `${folder === '' ? '.' : folder}/${name}`);
}

/** `NAME=value`, byte strings: what criu was started with, and what the script is told. */
function environmentOf({ hook, imagesDir, initPid }: ScriptRun): string[] {
  const told = /^CRTOOLS_(SCRIPT_ACTION|IMAGE_DIR|INIT_PID)=/;
  const inherited = readFile('/proc/self/environ').split('\0');
  return [
    ...inherited.filter((text) => text !== '' && !told.test(text)),
    `CRTOOLS_SCRIPT_ACTION=${hook}`,
    `CRTOOLS_IMAGE_DIR=${imagesDir}`,
    ...(initPid === undefined ? [] : [`CRTOOLS_INIT_PID=${initPid}`]),
  ];
}

function failed(script: string, hook: Hook, status: number, what: string): Failure {
  const remedy = hook === 'pre-resume' ? { remedy: 'a pre-resume script must not fail' } : {};
  return { status, fields: { object: `Script ${script}`, action: what, ...remedy } };
}
