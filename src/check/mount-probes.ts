/** Probes of mounts, each in a mount namespace of its own (man 2 mount, move_mount). */
import { AT_FDCWD, O_CREAT, O_RDWR } from '../linux/abi/fcntl.ts';
import { MAP_SHARED, PROT_READ } from '../linux/abi/mman.ts';
import { MOVE_MOUNT_SET_GROUP, MS_BIND, MS_SHARED } from '../linux/abi/mount.ts';
import { CLONE_NEWNS } from '../linux/abi/sched.ts';
import { SYS } from '../linux/abi/syscall-numbers.ts';
import { major, minor, readFile } from '../linux/syscalls/fs.ts';
import { munmap } from '../linux/syscalls/mm.ts';
import { parseMaps } from '../proc/maps.ts';
import { Child } from './child.ts';
import type { Missing } from './probe.ts';
import { addScratch } from './proc-probes.ts';

/** move_mount(MOVE_MOUNT_SET_GROUP) (5.15). */
export function probeMoveMountSetGroup(): Missing {
  const child = new Child();
  const { program } = child;
  const tmp = addScratch(child);
  const inner = program.string('/tmp/inner');
  const none = program.string('none');
  child.step('mkdir', SYS.mkdirat, AT_FDCWD, inner, 0o700);
  child.step('bind mount', SYS.mount, inner, inner, 0, MS_BIND, 0);
  child.step('make a mount shared', SYS.mount, none, tmp, 0, MS_SHARED, 0);
  child.step('move_mount(MOVE_MOUNT_SET_GROUP)', SYS.move_mount, AT_FDCWD, tmp, AT_FDCWD, inner, MOVE_MOUNT_SET_GROUP);
  return child.run(CLONE_NEWNS);
}

const STAT_BYTES = 144;
const PAGE = 4096;

/**
 * /proc/PID/maps shows device and inode of a mapped overlayfs file as stat(2) does (6.8). The child maps a file into
 * the memory that it shares with us; the mapping is still there when the child and its mounts are gone.
 */
export function probeOverlayfsMaps(): Missing {
  const child = new Child();
  const { program } = child;
  addScratch(child);
  for (const name of ['lower', 'upper', 'work', 'merged']) {
    child.step('mkdir', SYS.mkdirat, AT_FDCWD, program.string(`/tmp/${name}`), 0o700);
  }
  const overlay = program.string('overlay');
  const merged = program.string('/tmp/merged');
  const options = program.string('lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work');
  child.step('mount overlay', SYS.mount, overlay, merged, overlay, 0, options);
  const fd = child.step('open', SYS.openat, AT_FDCWD, program.string('/tmp/merged/file'), O_RDWR | O_CREAT, 0o600);
  const stat = program.reserve(STAT_BYTES);
  child.step('fstat', SYS.fstat, fd, stat);
  const mapped = child.step('mmap', SYS.mmap, 0, PAGE, PROT_READ, MAP_SHARED, fd, 0);
  const missing = child.run(CLONE_NEWNS);
  if (missing !== undefined) return missing;
  const address = child.result(mapped);
  const mapping = parseMaps(readFile('/proc/self/maps')).find(({ start }) => start === address);
  munmap(address, PAGE);
  const bytes = child.bytes(stat);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [device, inode] = [Number(view.getBigUint64(0, true)), Number(view.getBigUint64(8, true))];
  const isSame =
    mapping !== undefined &&
    mapping.inode === inode &&
    mapping.device.major === major(device) &&
    mapping.device.minor === minor(device);
  return isSame ? undefined : '/proc/PID/maps shows another file than stat for files of overlayfs';
}
