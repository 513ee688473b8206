/**
 * What happens between the command line and the command: folders, log, descriptors.
 *
 * All failures are CriuErrors that name the folder, file or descriptor.
 */

import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { CriuError } from '../base/errors.ts';
import { LOG_INFO, type Logger, type LogSink } from '../base/log.ts';
import type { CommandName } from '../options/commands.ts';
import type { CriuOptions } from '../options/criu-options.ts';
import { GIT_ID, VERSION } from './version.ts';

/** Turns what the system gave as UTF-8 into a byte string. */
export function toByteString(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** A byte string as `node:fs` takes it. */
export function toPath(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** `base` must be absolute. Does not look at the disk: ".." after a symbolic link is left to the kernel. */
export function absolutePath(path: string, base: string): string {
  if (path.startsWith('/')) return path;
  if (path === '.' || path === '') return base;
  return base === '/' ? `/${path}` : `${base}/${path}`;
}

/**
 * The arguments after the program name, byte for byte. Bun decodes them as UTF-8 and loses what is not; only then it
 * is worth the time to read them from /proc.
 */
export function commandLineWords(): string[] {
  const words = process.argv.slice(2);
  if (!words.some((word) => word.includes('\uFFFD'))) return words.map(toByteString);
  const all = readFileSync('/proc/self/cmdline').toString('latin1').split('\0').slice(0, -1);
  return all.slice(all.length - words.length);
}

/** A file's content as a byte string; undefined when it does not exist. Throws CriuError when it cannot be read. */
export function readConfigFile(path: string): string | undefined {
  try {
    return readFileSync(toPath(path)).toString('latin1');
  } catch (error) {
    if (isErrno(error, 'ENOENT') || isErrno(error, 'ENOTDIR')) return undefined;
    throw new CriuError({ object: `configuration file ${path}`, action: `cannot read it: ${errnoOf(error)}` });
  }
}

/** --close. A number that is not open is no mistake (as in CRIU); one that this program opened itself is left alone. */
export function closeDescriptors(fds: readonly number[], log: Logger): void {
  for (const fd of fds) {
    log.info(`Closing fd ${fd}`);
    if (isInherited(fd)) closeSync(fd);
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
 * Whether our caller left this descriptor open. Those the runtime opened for itself are close-on-exec; inherited ones
 * cannot be (proc_pid_fdinfo(5): flags are octal).
 */
export function isInherited(fd: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1];
    return fd <= 2 || flags === undefined || (Number.parseInt(flags, 8) & O_CLOEXEC) === 0;
  } catch {
    return false;
  }
}

const O_CLOEXEC = 0o2000000;

/** The current directory as a byte string. */
export function currentDirectory(): string {
  return readlinkSync('/proc/self/cwd', 'buffer').toString('latin1');
}

/** Absolute path of the images folder. Throws CriuError when it is not a folder that can be opened. */
export function openImagesDir(options: CriuOptions, cwd: string): string {
  const path = absolutePath(options.imagesDir, cwd);
  try {
    closeSync(openSync(toPath(path), constants.O_RDONLY | constants.O_DIRECTORY));
  } catch (error) {
    throw new CriuError({
      action: `Couldn't open image dir ${options.imagesDir}: ${errnoOf(error)}`,
      remedy: 'make the folder first, or name another one with -D',
    });
  }
  return path;
}

/** Goes to the work folder and returns its absolute path. */
export function enterWorkDir(options: CriuOptions, imagesDir: string, cwd: string): string {
  const path = options.workDir === undefined ? imagesDir : absolutePath(options.workDir, cwd);
  try {
    changeDirectory(path);
  } catch (error) {
    throw new CriuError({ action: `Can't change directory to ${path}: ${errnoOf(error)}`, remedy: 'see -W' });
  }
  return path;
}

/** chdir(2) with a byte string; what is not UTF-8 goes by way of /proc, since the runtime takes UTF-8 only. */
function changeDirectory(path: string): void {
  const decoded = toPath(path).toString('utf8');
  if (toByteString(decoded) === path) {
    process.chdir(decoded);
    return;
  }
  const fd = openSync(toPath(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    process.chdir(`/proc/self/fd/${fd}`);
  } finally {
    closeSync(fd);
  }
}

/** Opens the log where --log-file says, and writes the two lines with which every log begins. */
export function openLog(sink: LogSink, options: CriuOptions): void {
  const { logFile } = options;
  try {
    if (logFile === undefined) sink.open({ fd: 2 });
    else sink.open(logFile === '-' ? { fd: 1 } : { path: logFile });
  } catch (error) {
    throw new CriuError({ action: `Can't create log file ${logFile}: ${errnoOf(error)}` });
  }
  if (!sink.isEnabled(LOG_INFO)) return;
  sink.logger.info(`Version: ${VERSION} (gitid ${GIT_ID})`);
  const [host, system, release, version] = ['hostname', 'ostype', 'osrelease', 'version'].map(readKernelString);
  sink.logger.info(
    `Running on ${host} ${system} ${release} ${version} ${process.arch === 'x64' ? 'x86_64' : process.arch}`,
  );
}

function readKernelString(name: string): string {
  return readFileSync(`/proc/sys/kernel/${name}`, 'latin1').trimEnd();
}

/** CRIU finds out that the pid file exists after the restore; by then it is too late. */
export function assertNoPidfile(command: CommandName, options: CriuOptions): void {
  if (command !== 'restore' || options.pidfile === undefined) return;
  try {
    closeSync(openSync(toPath(options.pidfile), constants.O_RDONLY | constants.O_NONBLOCK));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
  }
  throw new CriuError({
    object: `pidfile ${options.pidfile}`,
    action: `Can't open ${options.pidfile}: EEXIST`,
    why: 'it exists already',
    remedy: 'remove it or name another one with --pidfile',
  });
}

/** Plugins are C libraries that this criu cannot load; saying nothing would lose what they were to save. */
export function assertNoPlugins(options: CriuOptions): void {
  const folder = options.pluginDir;
  if (folder === undefined) return;
  const plugins = listFiles(folder).filter((name) => name.endsWith('.so'));
  if (plugins.length === 0) return;
  throw new CriuError({
    object: `plugin folder ${folder}`,
    action: `--libdir is not supported yet by this criu: cannot load ${plugins.join(', ')}`,
    remedy: 'leave out --libdir (and CRIU_LIBS_DIR) when the tree does not need these plugins',
  });
}

function listFiles(folder: string): string[] {
  try {
    return readdirSync(toPath(folder), 'buffer').map((name) => name.toString('latin1'));
  } catch {
    return [];
  }
}

function isErrno(error: unknown, code: string): boolean {
  return errnoOf(error) === code;
}

/** "ENOENT", or the whole text when it is no error of the kernel. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return String(error);
}
