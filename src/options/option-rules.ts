/** Rules that concern more than one option: contradictions, and what is worth telling in the log. Pure. */

import { CriuError } from '../base/errors.ts';
import type { CommandName } from './commands.ts';
import type { CriuOptions, JoinNamespaceType } from './criu-options.ts';

/** A line for the log, kept until it is open. */
export interface Note {
  readonly level: 'warn' | 'info' | 'debug';
  readonly text: string;
}

/** A contradiction after which CRIU shows its usage. */
class RuleError extends CriuError {
  readonly showUsage = true;
}

/** Throws CriuError at the first contradiction. The words are CRIU's, the advice after them is ours. */
export function refuseContradictions(command: CommandName, options: CriuOptions, args: readonly string[]): void {
  if (options.execCmd) refuseExecCmd(command, options, args);
  if (options.stream && !['dump', 'pre-dump', 'restore', 'cpuinfo'].includes(command)) {
    throw new RuleError({ action: `--stream cannot be used with the ${command} command` });
  }
  if (options.restoreSibling && !options.detached) {
    throw new CriuError({ action: '--restore-sibling only makes sense with --restore-detached' });
  }
  if (options.psSocket !== undefined && options.psSocket <= 2 && options.detached && isDaemon(command)) {
    throw new CriuError({
      action: 'Standard file descriptors will be closed in daemon mode',
      remedy: 'give --ps-socket a number above 2',
    });
  }
  if (options.mntnsCompatMode && command !== 'restore') {
    throw new CriuError({ action: 'Option --mntns-compat-mode is only valid on restore' });
  }
  if (options.emptyNamespaces.length > 0 && joins(options, 'net')) {
    throw new CriuError({ action: 'namespace flags conflict: --join-ns and --empty-ns both name net' });
  }
  if (options.inheritFds.length > 0 && command !== 'restore') {
    throw new CriuError({ action: '--inherit-fd is restore-only option' });
  }
  if ((command === 'dump' || command === 'pre-dump') && options.treePid === 0) {
    throw new CriuError({ action: 'pid not specified', remedy: 'name the root of the tree with -t PID' });
  }
  if (command === 'pre-dump' && options.lazyPages) throw new CriuError({ action: 'Cannot pre-dump with --lazy-pages' });
}

function joins(options: CriuOptions, wanted: JoinNamespaceType): boolean {
  for (const { type } of options.joinNamespaces) if (type === wanted) return true;
  return false;
}

function isDaemon(command: CommandName): boolean {
  return command === 'page-server' || command === 'service' || command === 'lazy-pages';
}

function refuseExecCmd(command: CommandName, options: CriuOptions, args: readonly string[]): void {
  if (args.length === 0) {
    throw new RuleError({ action: '--exec-cmd requires a command', remedy: 'write it after "--"' });
  }
  if (command !== 'restore') throw new RuleError({ action: '--exec-cmd is available for the restore command only' });
  if (options.detached) {
    throw new RuleError({ action: '--restore-detached and --exec-cmd cannot be used together' });
  }
}

/** `isGiven` asks by long name. */
export function notesOf(command: CommandName, options: CriuOptions, isGiven: (long: string) => boolean): Note[] {
  const notes: Note[] = [];
  const warn = (text: string): unknown => notes.push({ level: 'warn', text });
  const info = (text: string): unknown => notes.push({ level: 'info', text });
  if (command === 'restore' && options.treePid !== 0) warn('Using -t with criu restore is obsoleted');
  if (command === 'restore' && options.detached && options.finalState === 'stopped' && options.shellJob) {
    warn('Stopped and detached shell job will get SIGHUP from OS.');
  }
  if (command === 'restore' && isGiven('network-lock')) {
    warn('--network-lock will be ignored in restore command');
    info('Network lock method from dump will be used in restore');
  }
  if (options.psSocket !== undefined && (options.address !== undefined || options.port !== 0)) {
    warn('Using --address or --port in combination with --ps-socket is obsolete');
  }
  if (joins(options, 'user')) {
    warn('join-ns with user-namespace is not fully tested and dangerous');
  }
  if (options.tcpEstablished) info('Will dump/restore TCP connections');
  if (options.skipInFlight) info('Will skip in-flight TCP connections');
  if (options.tcpClose) info('Will drop all TCP connections on restore');
  if (options.linkRemap) info('Will allow link remaps on FS');
  if (options.weakSysctls) info('Will skip non-existent sysctls on restore');
  if (options.deprecatedOk) info('Turn deprecated stuff ON');
  for (const { fd, key } of options.inheritFds) info(`File ${key} will be restored from inherit fd ${fd}`);
  return notes;
}
