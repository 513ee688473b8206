/**
 * The lines of inotify and fanotify files in fdinfo; fs/notify/fdinfo.c. Numbers are hexadecimal, the watch too.
 */
import type { FanotifyMark, FileHandle, InotifyWatch } from './fdinfo-types.ts';
import { malformed, type Place, toHex, toHexBigint, toInteger, words } from './text.ts';

/** Parses `inotify wd:1 ino:… sdev:… mask:… ignored_mask:0 fhandle-bytes:… fhandle-type:… f_handle:…`. */
export function parseInotifyWatch(line: string, place: Place): InotifyWatch {
  const pairs = toPairs(line);
  return {
    wd: toHex(pairs.get('wd') ?? '', place, 'a watch descriptor'),
    ino: toHexBigint(pairs.get('ino') ?? '', place, 'an inode number'),
    sdev: toHex(pairs.get('sdev') ?? '', place, 'a device number'),
    mask: toHex(pairs.get('mask') ?? '', place, 'a mask'),
    ignoredMask: toHex(pairs.get('ignored_mask') ?? '0', place, 'a mask'),
    handle: parseHandle(pairs, place),
  };
}

/** Parses a mark of a fanotify group: on an inode, a mount, a file system or a mount namespace. */
export function parseFanotifyMark(line: string, place: Place): FanotifyMark {
  const pairs = toPairs(line);
  const base = {
    flags: toHex(pairs.get('mflags') ?? '', place, 'mark flags'),
    mask: toHex(pairs.get('mask') ?? '', place, 'a mask'),
    ignoredMask: toHex(pairs.get('ignored_mask') ?? '', place, 'a mask'),
  };
  const [mntId, mntNs, ino] = [pairs.get('mnt_id'), pairs.get('mnt_ns'), pairs.get('ino')];
  if (mntId !== undefined) return { ...base, on: 'mount', mntId: toHex(mntId, place, 'a mount id') };
  if (mntNs !== undefined) return { ...base, on: 'mount-namespace', mntNs: toInteger(mntNs, place, 'a namespace') };
  const sdev = toHex(pairs.get('sdev') ?? '', place, 'a device number');
  if (ino === undefined) return { ...base, on: 'filesystem', sdev };
  const handle = parseHandle(pairs, place);
  return { ...base, on: 'inode', ino: toHexBigint(ino, place, 'an inode number'), sdev, handle };
}

/** `key:value` words after the first word. */
function toPairs(line: string): Map<string, string> {
  const pairs = new Map<string, string>();
  for (const word of words(line).slice(1)) {
    const colon = word.indexOf(':');
    if (colon > 0) pairs.set(word.slice(0, colon), word.slice(colon + 1));
  }
  return pairs;
}

/** Largest handle, MAX_HANDLE_SZ of linux/exportfs.h. */
const HANDLE_BYTES_MAX = 128;

function parseHandle(pairs: ReadonlyMap<string, string>, place: Place): FileHandle | undefined {
  const length = pairs.get('fhandle-bytes');
  if (length === undefined) return undefined;
  const count = toHex(length, place, 'a handle length');
  const digits = pairs.get('f_handle') ?? '';
  if (count > HANDLE_BYTES_MAX || digits.length !== 2 * count) throw malformed(place, 'a file handle of that length');
  const bytes = new Uint8Array(count);
  for (let index = 0; index < count; index++) {
    bytes[index] = toHex(digits.slice(2 * index, 2 * index + 2), place, 'a file handle');
  }
  return { type: toHex(pairs.get('fhandle-type') ?? '', place, 'a handle type'), bytes };
}
