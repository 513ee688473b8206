/** Probes that only read or write files of /proc and /sys (man 5 proc). */

import { byteString } from '../base/bytes.ts';
import { ERRNO } from '../linux/abi/errno.ts';
import { AT_FDCWD, O_RDONLY, O_WRONLY } from '../linux/abi/fcntl.ts';
import { CLONE_NEWNS } from '../linux/abi/sched.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { cString, syscall } from '../linux/kernel.ts';
import { close, open, tryOpen, tryReadFile } from '../linux/syscalls/fs.ts';
import { Child } from './child.ts';
import { failed, type Missing } from './probe.ts';

const R_OK = 4;
const W_OK = 2;

/** access(2) of a path. */
export function probeAccess(path: string, mode: 'exists' | 'read' | 'write' | 'read-write'): Missing {
  const bits = { exists: 0, read: R_OK, write: W_OK, 'read-write': R_OK | W_OK }[mode];
  return failed(path, syscall(SYS.faccessat, AT_FDCWD, cString(path), bits));
}

/** The fdinfo of `fd` must have a line that begins with each key; the descriptor is closed. */
export function probeFdinfo(call: string, fd: number, pattern: RegExp, prepare?: () => number): Missing {
  if (fd < 0) return failed(call, fd);
  try {
    const prepared = prepare?.() ?? 0;
    if (prepared < 0) return failed(call, prepared);
    const text = tryReadFile(`/proc/self/fdinfo/${fd}`);
    if (typeof text === 'number') return failed('/proc/PID/fdinfo', text);
    return pattern.test(text) ? undefined : `/proc/PID/fdinfo of ${call} does not match ${pattern.source}`;
  } finally {
    close(fd);
  }
}

/** mnt_id in fdinfo (3.15). */
export function probeMntId(): Missing {
  return probeFdinfo('open', open('/proc', O_RDONLY), /^mnt_id:\s*\d+$/m);
}

const LOCK_SH = 1;

/** Locks in fdinfo (4.1). */
export function probeFdinfoLock(): Missing {
  const fd = open('/proc/locks', O_RDONLY);
  return probeFdinfo('flock', fd, /^lock:/m, () => syscall(SYS.flock, fd, LOCK_SH));
}

/** The kernel must let a task change its loginuid, also back to "not set" (3.13). Tried in a child. */
export function probeLoginuid(): Missing {
  const child = new Child();
  const { program } = child;
  const fd = child.step('/proc/PID/loginuid', SYS.openat, AT_FDCWD, program.string('/proc/self/loginuid'), O_WRONLY);
  for (const value of [`${2 ** 32 - 1}`, '0', `${2 ** 32 - 1}`]) {
    child.step('write loginuid', SYS.pwrite64, fd, program.string(value), value.length, 0);
  }
  return child.run();
}

/** The ids of a task in all its pid namespaces (4.1). */
export function probeNsPid(): Missing {
  const text = tryReadFile('/proc/self/status');
  if (typeof text === 'number') return failed('/proc/PID/status', text);
  return /^NSpid:/m.test(text) ? undefined : '/proc/PID/status has no NSpid line';
}

/** The fields of /proc/PID/stat up to exit_code (3.5): 52 of them, and addresses that are not hidden. */
export function probeStat(): Missing {
  const text = tryReadFile('/proc/self/stat');
  if (typeof text === 'number') return failed('/proc/PID/stat', text);
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return fields.length >= 50 ? undefined : `/proc/PID/stat has only ${fields.length + 2} fields`;
}

const APPARMOR = '/sys/kernel/security/apparmor/features/domain';

/** Namespaces of AppArmor policies can be seen and stacked (4.13). */
export function probeApparmorStacking(): Missing {
  const stack = tryReadFile(`${APPARMOR}/stack`);
  if (typeof stack === 'number') return 'AppArmor is not active here, or does not stack profiles';
  if (stack.trim() !== 'yes') return `AppArmor does not stack profiles (${stack.trim()})`;
  const version = tryReadFile(`${APPARMOR}/version`);
  const [major = 0, minor = 0] = typeof version === 'number' ? [] : version.split('.').map(Number);
  return major >= 1 && minor >= 2 ? undefined : 'AppArmor is too old to show its namespaces';
}

const MOUNTINFO_PAGES = 64;
const PAGE = 4096;

/** The mount options of autofs must show the inode of its pipe (4.10). Mounted in a mount namespace of its own. */
export function probeAutofs(): Missing {
  const ends = new Int32Array(2);
  const piped = syscall(SYS.pipe2, ends, 0);
  if (piped < 0) return failed('pipe', piped);
  const [reader = -1, writer = -1] = ends;
  try {
    return mountAutofs(writer);
  } finally {
    close(reader);
    close(writer);
  }
}

function mountAutofs(pipe: number): Missing {
  const child = new Child();
  const { program } = child;
  // Without pgrp= the group is the caller's, which may have no number in this pid namespace.
  const options = program.string(`fd=${pipe},minproto=5,maxproto=5,direct`);
  const info = child.step('open mountinfo', SYS.openat, AT_FDCWD, program.string('/proc/self/mountinfo'), O_RDONLY);
  const tmp = addScratch(child);
  child.step('mount autofs', SYS.mount, program.string('criu'), tmp, program.string('autofs'), 0, options);
  const text = program.reserve(MOUNTINFO_PAGES * PAGE);
  const pages = Array.from({ length: MOUNTINFO_PAGES }, (_, i) => {
    const place = program.at(text, i * PAGE);
    return { place: { ...place, bytes: PAGE }, got: child.step('read mountinfo', SYS.read, info, place, PAGE) };
  });
  const missing = child.run(CLONE_NEWNS);
  if (missing !== undefined) return missing;
  const lines = pages.map(({ place, got }) => byteString(child.bytes(place).subarray(0, child.result(got)))).join('');
  if (!lines.includes(' autofs criu ')) return 'an autofs mount does not appear in mountinfo';
  return /autofs criu .*pipe_ino=/.test(lines) ? undefined : 'the mount options of autofs lack pipe_ino';
}

const MS_PRIVATE = 0x40000;
const MS_REC = 0x4000;

/**
 * Adds steps for a child in a new mount namespace: nothing propagates out of it any more, and /tmp is an empty tmpfs.
 * Returns the path.
 */
export function addScratch(child: Child): ReturnType<Child['program']['string']> {
  const { program } = child;
  const tmp = program.string('/tmp');
  const none = program.string('none');
  child.step('make mounts private', SYS.mount, none, program.string('/'), 0, MS_REC | MS_PRIVATE, 0);
  child.step('mount tmpfs', SYS.mount, none, tmp, program.string('tmpfs'), 0, 0);
  return tmp;
}

/** /proc/PID/timens_offsets (5.6). */
export function probeTimens(): Missing {
  const fd = tryOpen('/proc/self/timens_offsets', O_RDONLY);
  if (fd >= 0) close(fd);
  return fd === -ERRNO.ENOENT ? 'the kernel has no time namespaces (CONFIG_TIME_NS)' : failed('timens_offsets', fd);
}
