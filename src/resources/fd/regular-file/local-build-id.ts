/** Reading the build id of a file that is open in our own process. */
import { once } from '../../../base/per-run.ts';
import { O_ACCMODE, O_PATH, O_RDONLY, O_WRONLY } from '../../../linux/abi/fcntl.ts';
import { close, tryOpen } from '../../../linux/syscalls/fs.ts';
import { tryPread } from '../../../linux/syscalls/names.ts';
import type { OpenFile } from '../file-kind.ts';
import { BUILD_ID_HEAD_BYTES, readBuildId } from './build-id.ts';

/** A smaller file can't be ELF: magic and class. */
const ELF_BYTES_MIN = 5;
const NOTHING = new Uint8Array(0);

const buffer = once(() => new Uint8Array(BUILD_ID_HEAD_BYTES));

/** The build id, or nothing when there is none or the file cannot be read. */
export function readLocalBuildId(file: OpenFile): number[] {
  const size = file.stat.st_size;
  if (size < ELF_BYTES_MIN) return [];
  // A descriptor that can be read can be read at any place without moving the task's position.
  const isReadable = file.fd >= 0 && (file.flags & O_PATH) === 0 && (file.flags & O_ACCMODE) !== O_WRONLY;
  const fd = isReadable ? file.localFd : tryOpen(`/proc/self/fd/${file.localFd}`, O_RDONLY);
  if (fd < 0) return [];
  const bytes = buffer();
  const id = readBuildId(size, (count) => {
    const got = tryPread(fd, bytes.subarray(0, count), 0);
    return got <= 0 ? NOTHING : bytes.subarray(0, got);
  });
  if (!isReadable) close(fd);
  return id;
}
