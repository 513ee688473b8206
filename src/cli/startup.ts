/**
 * What happens between the command line and the command: folders, log, descriptors.
 *
 * All failures are CriuErrors that name the folder, file or descriptor.
 */

import { CriuError } from '../base/errors.ts';
import { invocation } from '../base/invocation.ts';
import { LOG_INFO, type Logger, LogSink } from '../base/log.ts';
import { CAP_CHECKPOINT_RESTORE, CAP_SYS_ADMIN } from '../linux/abi/capability.ts';
import { ERRNO, errnoName } from '../linux/abi/errno.ts';
import { O_APPEND, O_CREAT, O_DIRECTORY, O_RDONLY, O_TRUNC, O_WRONLY } from '../linux/abi/fcntl.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { sinceStartMs } from '../linux/clock.ts';
import { cString, syscall } from '../linux/kernel.ts';
import {
  close,
  readFile,
  tryListDirectory,
  tryLstat,
  tryOpen,
  tryReadFile,
  tryReadlink,
} from '../linux/syscalls/fs.ts';
import type { CommandName } from '../options/commands.ts';
import type { CriuOptions } from '../options/criu-options.ts';
import type { CommandLine, Environment } from '../options/parse-command-line.ts';
import type { CommandContext } from './command-context.ts';
import { GIT_ID, VERSION } from './version.ts';

/** The log, not open yet. */
export function createLogSink(): LogSink {
  return new LogSink((fd, bytes) => syscall(SYS.write, fd, bytes, bytes.length), sinceStartMs);
}

/** `base` must be absolute. Does not look at the disk: ".." after a symbolic link is left to the kernel. */
export function absolutePath(path: string, base: string): string {
  if (path.startsWith('/')) return path;
  if (path === '.' || path === '') return base;
  return base === '/' ? `/${path}` : `${base}/${path}`;
}

/** What stands in a word for bytes that are not UTF-8: U+FFFD, in UTF-8. */
const LOST = '\xef\xbf\xbd';

/**
 * The arguments after the program name, byte for byte. Bun decodes them as UTF-8 and loses what is not; only then it
 * is worth the time to read them from /proc.
 */
export function commandLineWords(): readonly string[] {
  const words = invocation().words.slice(1);
  let isLossy = false;
  for (const word of words) isLossy ||= word.includes(LOST);
  if (!isLossy) return words;
  const text = tryReadFile('/proc/self/cmdline');
  if (typeof text === 'number') throw new CriuError({ action: `cannot read /proc/self/cmdline: ${errnoName(-text)}` });
  const all = text.split('\0').slice(0, -1);
  return all.slice(all.length - words.length);
}

/** The variables that set options. */
export function readEnvironment(): Environment {
  return {
    HOME: variable('HOME'),
    CRIU_CONFIG_FILE: variable('CRIU_CONFIG_FILE'),
    CRIU_DEPRECATED: variable('CRIU_DEPRECATED'),
    CRIU_LIBS_DIR: variable('CRIU_LIBS_DIR'),
  };
}

/** Byte for byte, as `commandLineWords`. */
function variable(name: string): string | undefined {
  const value = invocation().variable(name);
  if (value?.includes(LOST) !== true) return value;
  const all = tryReadFile('/proc/self/environ');
  if (typeof all === 'number') throw new CriuError({ action: `cannot read /proc/self/environ: ${errnoName(-all)}` });
  const found = all.split('\0').find((text) => text.startsWith(`${name}=`));
  return found?.slice(name.length + 1);
}

/** A file's content as a byte string; undefined when it does not exist. Throws CriuError when it cannot be read. */
export function readConfigFile(path: string): string | undefined {
  const text = tryReadFile(path);
  if (typeof text === 'string') return text;
  // With sudo -u, the home folder may still be that of another user, whose files do not concern this one.
  if (text === -ERRNO.ENOENT || text === -ERRNO.ENOTDIR || text === -ERRNO.EACCES) return undefined;
  throw new CriuError({ object: `configuration file ${path}`, action: `cannot read it: ${errnoName(-text)}` });
}

/** --close. A number that is not open is no mistake (as in CRIU); one that this program opened itself is left alone. */
export function closeDescriptors(fds: readonly number[], log: Logger): void {
  for (const fd of fds) {
    log.info(`Closing fd ${fd}`);
    if (isInherited(fd)) close(fd);
  }
}

/** Fails early when a descriptor that the caller names is not open. */
export function assertInherited(fd: number, option: string): void {
  if (isInherited(fd)) return;
  throw new CriuError({
    object: `fd ${fd}`,
    action: `Can't fstat inherit fd ${fd}: EBADF`,
    why: `${option} names it, but whoever started criu has not left it open`,
  });
}

/**
 * Whether our caller left this descriptor open. The runtime marks inherited ones close-on-exec at its start, so that
 * flag tells nothing; what it opened for itself are an epoll and an eventfd, and nobody hands these to criu.
 */
export function isInherited(fd: number): boolean {
  const target = tryReadlink(`/proc/self/fd/${fd}`);
  return typeof target === 'string' && target !== 'anon_inode:[eventpoll]' && target !== 'anon_inode:[eventfd]';
}

/** The current directory as a byte string. Throws CriuError when it has been removed or cannot be known. */
export function currentDirectory(): string {
  const path = tryReadlink('/proc/self/cwd');
  if (typeof path === 'string') return path;
  throw new CriuError({ action: `cannot read the link /proc/self/cwd: ${errnoName(-path)}`, remedy: 'mount /proc' });
}

/** Absolute path of the images folder. Throws CriuError when it is not a folder that can be opened. */
function openImagesDir(options: CriuOptions, cwd: string): string {
  const path = absolutePath(options.imagesDir, cwd);
  const fd = tryOpen(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) {
    throw new CriuError({
      action: `Couldn't open image dir ${options.imagesDir}: ${errnoName(-fd)}`,
      remedy: 'make the folder first, or name another one with -D',
    });
  }
  close(fd);
  return path;
}

/** Goes to the work folder and returns its absolute path. */
function enterWorkDir(options: CriuOptions, imagesDir: string, cwd: string): string {
  const path = options.workDir === undefined ? imagesDir : absolutePath(options.workDir, cwd);
  const result = syscall(SYS.chdir, cString(path));
  if (result < 0) {
    const action = `Can't change directory to ${path}: ${errnoName(-result)}`;
    throw new CriuError({ action, remedy: 'make the folder first, or name another one with -W' });
  }
  return path;
}

/** Opens the log where --log-file says, and writes the two lines with which every log begins. */
function openLog(sink: LogSink, options: CriuOptions): void {
  const { logFile } = options;
  if (logFile === undefined) sink.open(2);
  else sink.open(logFile === '-' ? 1 : openLogFile(logFile));
  if (!sink.isEnabled(LOG_INFO)) return;
  sink.logger.info(`Version: ${VERSION} (gitid ${GIT_ID})`);
  const system = `${readKernelString('hostname')} ${readKernelString('ostype')} ${readKernelString('osrelease')}`;
  const machine = process.arch === 'x64' ? 'x86_64' : process.arch;
  sink.logger.info(`Running on ${system} ${readKernelString('version')} ${machine}`);
}

function openLogFile(path: string): number {
  const fd = tryOpen(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0o600);
  if (fd >= 0) return fd;
  throw new CriuError({ action: `Can't create log file ${path}: ${errnoName(-fd)}`, remedy: 'see -o and -W' });
}

function readKernelString(name: string): string {
  const text = tryReadFile(`/proc/sys/kernel/${name}`);
  return typeof text === 'number' ? '?' : text.trimEnd();
}

/** Without this a user would learn of each mapping that it may not be looked at. */
function assertPrivileged(command: CommandName): void {
  if (syscall(SYS.geteuid) === 0) return;
  const [, mask = '0'] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFile('/proc/self/status')) ?? [];
  const capabilities = BigInt(`0x${mask}`);
  const needed = (1n << BigInt(CAP_SYS_ADMIN)) | (1n << BigInt(CAP_CHECKPOINT_RESTORE));
  if ((capabilities & needed) !== 0n) return;
  throw new CriuError({
    action: `criu ${command} needs to be root`,
    why: 'the kernel lets nobody else look at the memory of a task, or choose a pid',
    remedy: 'run it with sudo, or with the capability CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN',
  });
}

/** CRIU finds out that the pid file exists after the restore; by then it is too late. */
function assertNoPidfile(command: CommandName, options: CriuOptions): void {
  if (command !== 'restore' || options.pidfile === undefined) return;
  if (typeof tryLstat(options.pidfile) === 'number') return;
  throw new CriuError({
    object: `pidfile ${options.pidfile}`,
    action: `Can't open ${options.pidfile}: EEXIST`,
    why: 'it exists already',
    remedy: 'remove it or name another one with --pidfile',
  });
}

/** Plugins are C libraries that this criu cannot load; saying nothing would lose what they were to save. */
function assertNoPlugins(options: CriuOptions): void {
  const folder = options.pluginDir;
  if (folder === undefined) return;
  const names = tryListDirectory(folder);
  const plugins = typeof names === 'number' ? [] : names.filter((name) => name.endsWith('.so')).sort();
  if (plugins.length === 0) return;
  throw new CriuError({
    object: `plugin folder ${folder}`,
    action: `--libdir is not supported yet by this criu: cannot load ${plugins.join(', ')}`,
    remedy: 'leave out --libdir (and CRIU_LIBS_DIR) when the tree does not need these plugins',
  });
}

/** Everything up to the command, in CRIU's order: folders first, since the log is relative to the work folder. */
export function prepare(sink: LogSink, command: CommandName, line: CommandLine): CommandContext {
  const { options } = line;
  closeDescriptors(options.closeFds, sink.logger);
  const cwd = currentDirectory();
  if (command === 'swrk') return workerContext(sink, line, cwd);
  const imagesDir = openImagesDir(options, cwd);
  const workDir = enterWorkDir(options, imagesDir, cwd);
  openLog(sink, options);
  for (const { level, text } of line.notes) sink.logger[level](text);
  assertNoPidfile(command, options);
  if (command === 'dump' || command === 'restore') {
    assertNoPlugins(options);
    assertPrivileged(command);
  }
  for (const { fd } of options.inheritFds) assertInherited(fd, '--inherit-fd');
  if (options.statusFd !== undefined) assertInherited(options.statusFd, '--status-fd');
  return {
    options,
    args: line.args,
    log: sink.logger.child(command),
    logFd: sink.fd ?? 2,
    imagesDir,
    startDir: cwd,
    workDir,
  };
}

/** A worker gets its folders and its log with a request. */
function workerContext(sink: LogSink, { options, args, notes }: CommandLine, cwd: string): CommandContext {
  sink.open(2);
  for (const { level, text } of notes) sink.logger[level](text);
  return { options, args, log: sink.logger.child('swrk'), logFd: 2, imagesDir: cwd, startDir: cwd, workDir: cwd };
}
