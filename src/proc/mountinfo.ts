/**
 * /proc/PID/mountinfo: the mounts of a mount namespace that the task's root reaches, man 5 proc_pid_mountinfo;
 * fs/proc_namespace.c show_mountinfo(). The kernel keeps the mounts in the order of the tree, parents first.
 */
import type { Device } from './maps.ts';
import { eachLine, malformed, type Place, toInteger, unescapeOctal } from './text.ts';

/** One mount. */
export interface Mount {
  readonly id: number;
  /** Id of the parent mount; that of the root of the namespace may be out of sight. */
  readonly parentId: number;
  /** st_dev of the file system. */
  readonly device: Device;
  /** Path inside the file system that is mounted; `/` unless it is a bind mount. */
  readonly root: string;
  /** Path as seen from the task's root. */
  readonly mountPoint: string;
  /** Options of the mount: `rw,nosuid,…`. */
  readonly options: string;
  /** Peer group when shared. */
  readonly shared: number | undefined;
  /** Peer group of the master when this is a slave. */
  readonly master: number | undefined;
  readonly propagateFrom: number | undefined;
  readonly isUnbindable: boolean;
  /** `ext4`, `fuse.sshfs`. */
  readonly fsType: string;
  /** Device or whatever the mount names; may be empty. */
  readonly source: string;
  /** Options of the superblock, escapes undone. */
  readonly superOptions: string;
}

const SEPARATOR = ' - ';

/** Parses /proc/PID/mountinfo. Throws CriuError, naming `file` and line, when the text is not the kernel's. */
export function parseMountinfo(text: string, file = '/proc/PID/mountinfo'): Mount[] {
  const mounts: Mount[] = [];
  eachLine(text, file, (line, place) => {
    mounts.push(parseMount(line, place));
  });
  return mounts;
}

function parseMount(line: string, place: Place): Mount {
  const separator = line.indexOf(SEPARATOR);
  if (separator < 0) throw malformed(place, '" - " between the halves of a mount');
  const [id = '', parentId = '', device = '', root, mountPoint, options, ...tags] = line.slice(0, separator).split(' ');
  if (root === undefined || mountPoint === undefined || options === undefined) throw malformed(place, 'six fields');
  return {
    id: toInteger(id, place, 'a mount id'),
    parentId: toInteger(parentId, place, 'a mount id'),
    device: parseDevice(device, place),
    root: unescapeOctal(root),
    mountPoint: unescapeOctal(mountPoint),
    options,
    ...parseTags(tags, place),
    ...parseFilesystem(line.slice(separator + SEPARATOR.length), place),
  };
}

function parseDevice(text: string, place: Place): Device {
  const colon = Math.max(text.indexOf(':'), 0);
  return {
    major: toInteger(text.slice(0, colon), place, 'a device number'),
    minor: toInteger(text.slice(colon + 1), place, 'a device number'),
  };
}

/** Unknown tags of newer kernels are ignored. */
function parseTags(tags: readonly string[], place: Place) {
  const peerGroup = (name: string) => {
    const tag = tags.find((candidate) => candidate.startsWith(`${name}:`));
    return tag === undefined ? undefined : toInteger(tag.slice(name.length + 1), place, 'a peer group');
  };
  return {
    shared: peerGroup('shared'),
    master: peerGroup('master'),
    propagateFrom: peerGroup('propagate_from'),
    isUnbindable: tags.includes('unbindable'),
  };
}

/** Type and source have no blank; the source can be empty, so that two blanks follow each other. */
function parseFilesystem(text: string, place: Place) {
  const typeEnd = text.indexOf(' ');
  const sourceEnd = text.indexOf(' ', typeEnd + 1);
  if (typeEnd <= 0 || sourceEnd < 0) throw malformed(place, 'type, source and options of a file system');
  return {
    fsType: unescapeOctal(text.slice(0, typeEnd)),
    source: unescapeOctal(text.slice(typeEnd + 1, sourceEnd)),
    superOptions: unescapeOctal(text.slice(sourceEnd + 1)),
  };
}
