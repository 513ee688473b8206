/** What planning may ask the kernel, for real. */
import { perRun } from '../../../base/per-run.ts';
import { ERRNO } from '../../../linux/abi/errno.ts';
import { O_RDONLY } from '../../../linux/abi/fcntl.ts';
import { close, tryLstat, tryOpen, tryReadFile, tryStat } from '../../../linux/syscalls/fs.ts';
import { tryPread } from '../../../linux/syscalls/names.ts';
import { tryDeviceIndex, tryDeviceName } from '../../../linux/syscalls/network-device.ts';
import { ownGroups } from '../../../linux/syscalls/process.ts';
import type { RestoreSystem, SocketBuffers } from '../file-kind.ts';

function readBuffers(): SocketBuffers | undefined {
  const [send, receive] = ['wmem_default', 'rmem_default'].map((name) => tryReadFile(`/proc/sys/net/core/${name}`));
  if (typeof send !== 'string' || typeof receive !== 'string') return undefined;
  return { sendBytes: Number(send), receiveBytes: Number(receive) };
}

export const restoreSystem: RestoreSystem = {
  stat(path, isFollowing) {
    // Only a damaged image has such a path.
    if (path.includes('\0')) return -ERRNO.EINVAL;
    return isFollowing ? tryStat(path) : tryLstat(path);
  },
  wallClockNs: () => BigInt(Date.now()) * 1_000_000n,
  socketBuffers: perRun(readBuffers),
  groups: perRun(ownGroups),
  deviceIndex: tryDeviceIndex,
  deviceName: tryDeviceName,
  head(path, bytes) {
    if (bytes === 0) return new Uint8Array();
    const fd = tryOpen(path, O_RDONLY);
    if (fd < 0) return fd;
    const buffer = new Uint8Array(bytes);
    const got = tryPread(fd, buffer, 0);
    close(fd);
    return got < 0 ? got : buffer.subarray(0, got);
  },
};
