/**
 * Is the file that a restore is going to open the one that was open at the dump? Compares kind, permissions, size and
 * build id with what the dump saw. All of it happens before any process exists.
 */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { RegFileEntry } from '../../../image/gen/regfile.ts';
import type { PlainFiles } from '../../../image/plain-files.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { O_NOFOLLOW, S_IFMT } from '../../../linux/abi/fcntl.ts';
import type { Stat } from '../../../linux/syscalls/fs.ts';
import type { RestoreContext } from '../file-kind.ts';
import { readBuildId } from './build-id.ts';
import { deadPids } from './dead-processes.ts';
import { allRemaps, remapOf } from './remap-restore.ts';

const RWX = 0o777;

/** The `--inherit-fd` key of a file: its path without the slash at the front, or the external name. */
function inheritKey(reg: RegFileEntry): string {
  if (reg.ext === true) return reg.name;
  return reg.name === '/' ? '.' : reg.name.slice(1);
}

/** The controller's descriptor that stands for this file (--inherit-fd). */
export function inheritedFd(reg: RegFileEntry, context: RestoreContext): number | undefined {
  return context.options.inheritFds.length === 0 ? undefined : context.inherited(inheritKey(reg));
}

/** What speaks against restoring this file. */
export function checkRegularFile(reg: RegFileEntry, context: RestoreContext): CriuErrorFields[] {
  const remap = remapOf(reg.id, context);
  if (remap.problem !== undefined) return [remap.problem];
  const isInherited = inheritedFd(reg, context) !== undefined;
  if (reg.ext === true && !isInherited) return [notInherited(reg)];
  // A file of another mount namespace can't be seen from here, one that is made anew needs no check.
  const isElsewhere = reg.mnt_id !== undefined && reg.mnt_id !== -1;
  if (isInherited || isElsewhere || remap.kind === 'ghost' || isOfTree(reg.name, context)) return [];
  const path = remap.kind === 'linked' ? remap.path : reg.name;
  const stat = statOnce(path, (reg.flags & O_NOFOLLOW) === 0, context);
  if (typeof stat === 'number') return [missing(path, -stat)];
  return compare(reg, path, stat, context);
}

/**
 * The same for plain files, but for those that are only the path of another one. Files of which all is equal are looked at
 * once.
 */
export function checkPlainFiles(
  files: PlainFiles,
  isPath: (id: number) => boolean,
  context: RestoreContext,
): CriuErrorFields[] {
  const { ids, flags, sizes, modes, paths, count } = files;
  const problems: CriuErrorFields[] = [];
  const remaps = allRemaps(context);
  const isAnyInherited = context.options.inheritFds.length > 0;
  /** The last row of each path that was looked at. */
  const seen = new Int32Array(files.names.length).fill(-1);
  for (let row = 0; row < count; row++) {
    const path = paths[row] as number;
    const like = seen[path] as number;
    const isSame = like >= 0 && sizes[row] === sizes[like] && modes[row] === modes[like];
    const isSpecial = isAnyInherited || (remaps.size > 0 && remaps.has(ids[row] as number));
    if (isSame && !isSpecial && (((flags[row] as number) ^ (flags[like] as number)) & O_NOFOLLOW) === 0) continue;
    if (isPath(ids[row] as number)) continue;
    const found = checkRegularFile(files.reg(row), context);
    if (found.length > 0) problems.push(...found);
    if (!isSpecial) seen[path] = row;
  }
  return problems;
}

/** Many descriptors may be of one file. */
function statOnce(path: string, isFollowing: boolean, { system, state }: RestoreContext): Stat | number {
  const known = state(isFollowing ? 'files by path' : 'links by path', () => new Map<string, Stat | number>());
  let stat = known.get(path);
  if (stat === undefined) {
    stat = system.stat(path, isFollowing);
    known.set(path, stat);
  }
  return stat;
}

/** Files of /proc that come into being with the tasks, or with the stubs of dead processes. */
function isOfTree(path: string, context: RestoreContext): boolean {
  if (!path.startsWith('/proc/')) return false;
  const digits = /^\/proc\/(\d+)(?:\/|$)/.exec(path)?.[1];
  if (digits === undefined) return false;
  const pid = Number(digits);
  return context.tree.members.some((member) => member.pid === pid) || deadPids(context).has(pid);
}

function notInherited(reg: RegFileEntry): CriuErrorFields {
  return {
    object: reg.name,
    action: 'cannot be restored',
    why: 'this file was declared external at the dump, and no descriptor was given for it',
    remedy: `add --inherit-fd fd[N]:${reg.name}`,
  };
}

function missing(path: string, errno: number): CriuErrorFields {
  const why = errno === ERRNO.ENOENT ? 'the file is not there' : errnoName(errno);
  return { object: path, action: 'cannot be opened', why, remedy: 'restore the file as it was at the dump' };
}

const NONE: CriuErrorFields[] = [];

function compare(reg: RegFileEntry, path: string, stat: Stat, context: RestoreContext): CriuErrorFields[] {
  const { options } = context;
  if (reg.mode === stat.st_mode && reg.size === stat.st_size && reg.build_id.length === 0) return NONE;
  const problems: CriuErrorFields[] = [];
  const mask = options.skipFileRwxCheck ? ~RWX : ~0;
  if (reg.mode !== undefined && (reg.mode & mask) !== (stat.st_mode & mask))
    problems.push(badMode(reg.mode, path, stat));
  if (reg.size !== undefined && reg.size !== stat.st_size) {
    problems.push({
      object: path,
      action: `has bad size ${stat.st_size} (expect ${reg.size})`,
      why: 'the file was changed since the dump',
      remedy: 'restore the file as it was at the dump',
    });
  } else if (reg.build_id.length > 0 && options.fileValidation === 'buildid') {
    problems.push(...compareBuildId(reg, path, stat, context));
  }
  return problems;
}

function badMode(expected: number, path: string, { st_mode }: Stat): CriuErrorFields {
  const action = `has bad mode 0${st_mode.toString(8)} (expect 0${expected.toString(8)})`;
  if ((st_mode & S_IFMT) !== (expected & S_IFMT)) {
    return { object: path, action, why: 'it is another kind of file than at the dump' };
  }
  return {
    object: path,
    action,
    why: 'its permissions were changed since the dump',
    remedy: 'change them back, or skip this check with --skip-file-rwx-check',
  };
}

const hex = (words: readonly number[]) => Buffer.from(Uint32Array.from(words).buffer).toString('hex');

/** A file whose build id cannot be read, or is gone, passes: its size is right. */
function compareBuildId(reg: RegFileEntry, path: string, stat: Stat, { system }: RestoreContext): CriuErrorFields[] {
  const found = readBuildId(stat.st_size, (bytes) => {
    const head = system.head(path, bytes);
    return typeof head === 'number' ? new Uint8Array(0) : head;
  });
  const isSame = found.length === reg.build_id.length && !found.some((word, i) => word !== reg.build_id[i]);
  if (found.length === 0 || isSame) return [];
  return [
    {
      object: path,
      action: `has bad build-ID ${hex(found)} (expect ${hex(reg.build_id)})`,
      why: 'the file was replaced by another build since the dump',
      remedy: 'restore the file as it was, or compare sizes only with --file-validation filesize',
    },
  ];
}
