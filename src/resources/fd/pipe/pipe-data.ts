/**
 * The bytes in a pipe or FIFO, and its size.
 *
 * At dump they are read without taking them out: tee(2) copies the buffers into a pipe of ours. One entry holds all
 * bytes. In packet mode (O_DIRECT, man 2 pipe) there is one entry for each packet, in order; CRIU refuses such pipes.
 */
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { F_GETPIPE_SZ, F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { fcntl } from '../../../linux/syscalls/fs.ts';
import { pipe2, SPLICE_F_NONBLOCK, tryRead, tryTee } from '../../../linux/syscalls/pipe.ts';
import { withoutOwner } from '../data-owner.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { KindDump, OpenFile, RestoreContext, Unsupported } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';

type Image = 'pipes-data' | 'fifo-data';

/** The number of a pipe in the image: 32 bits of its inode number. */
export function pipeId(file: OpenFile): number {
  return Number(BigInt.asUintN(32, BigInt(file.stat.st_ino)));
}

/** Whether it is a pipe without a name: the kernel calls it pipe:[INODE] (fs/pipe.c pipefs_dname()). */
export const isAnonymousPipe = ({ link }: OpenFile): boolean => link.startsWith('pipe:[');

/** Saves size and content of the pipe behind `file`, a readable end, once. */
export function dumpPipeData(image: Image, file: OpenFile, dump: KindDump): Unsupported | undefined {
  const pipe_id = pipeId(file);
  if (!dump.isFirst(`${image} ${pipe_id}`)) return undefined;
  const size = fcntl(file.localFd, F_GETPIPE_SZ);
  if (size < 0) return { unsupported: `its size cannot be read (${errnoName(-size)})` };
  const packets = readPipe(file.localFd, size, dump);
  if (!Array.isArray(packets)) return packets;
  const entries = packets.length === 0 ? [new Uint8Array(0)] : packets;
  for (const payload of entries) dump.addData(image, { message: { pipe_id, bytes: payload.length, size }, payload });
  return undefined;
}

/** A pipe of ours that contents are copied to, one after the other. */
interface Scratch {
  readonly reader: number;
  readonly writer: number;
  size: number;
}

function openScratch(dump: KindDump): Scratch {
  const [reader, writer] = pipe2(O_CLOEXEC | O_NONBLOCK);
  dump.closeAfterwards(reader);
  dump.closeAfterwards(writer);
  return { reader, writer, size: fcntl(writer, F_GETPIPE_SZ) };
}

function readPipe(fd: number, size: number, dump: KindDump): Uint8Array[] | Unsupported {
  const scratch = dump.state('scratch pipe', () => openScratch(dump));
  if (scratch.size !== size) {
    const result = fcntl(scratch.writer, F_SETPIPE_SZ, size);
    if (result < 0) {
      return {
        unsupported: `its content cannot be read without a pipe of ${size} bytes (${errnoName(-result)})`,
        remedy: 'raise /proc/sys/fs/pipe-max-size or pipe-user-pages-soft',
      };
    }
    scratch.size = result;
  }
  const bytes = tryTee(fd, scratch.writer, size, SPLICE_F_NONBLOCK);
  if (bytes < 0 && bytes !== -ERRNO.EAGAIN) return { unsupported: `its content cannot be read (${errnoName(-bytes)})` };
  return bytes <= 0 ? [] : readCopies(scratch.reader, bytes);
}

/**
 * A read returns everything up to the end of a packet, or all when there are no packets (fs/pipe.c pipe_read()). Copies
 * made by tee keep the mark of a packet (fs/splice.c link_pipe()). The reading end does not know of packet mode. All is
 * read, so the pipe is empty again.
 */
function readCopies(fd: number, bytes: number): Uint8Array[] {
  const buffer = new Uint8Array(bytes);
  const packets: Uint8Array[] = [];
  for (let left = bytes; left > 0; ) {
    const got = tryRead(fd, buffer);
    if (got <= 0) break;
    packets.push(buffer.slice(0, got));
    left -= got;
  }
  return packets;
}

/** What was in a pipe. */
export interface PipeContent {
  readonly size: number | undefined;
  readonly packets: readonly Uint8Array[];
}

/** The content of pipe `id`; undefined when the image has none. */
export function pipeContent(image: Image, id: number, context: RestoreContext): PipeContent | undefined {
  const all = context.state(image, () => {
    const contents = new Map<number, { size: number | undefined; packets: Uint8Array[] }>();
    const pipes = new Set<number | undefined>();
    const type = image === 'pipes-data' ? FdTypes.PIPE : FdTypes.FIFO;
    for (const { pipe, fifo } of filesOfType(context.tree.files, type)) pipes.add((pipe ?? fifo)?.pipe_id);
    for (const [entry, { message, payload }] of (context.images.tryRead(image) ?? []).entries()) {
      if (!pipes.has(message.pipe_id)) throw withoutOwner(image, entry, 'pipe_id', message.pipe_id);
      const content = contents.get(message.pipe_id) ?? { size: message.size, packets: [] };
      if (payload.length > 0) content.packets.push(payload);
      contents.set(message.pipe_id, content);
    }
    return contents;
  });
  return all.get(id);
}

/** Sets the size and writes the content into a pipe through `fd`. */
export function planPipeContent(table: FdTablePlan, fd: number, what: string, content: PipeContent | undefined): void {
  if (content === undefined) return;
  if (content.size !== undefined) table.do(['set the size of', what], SYS.fcntl, fd, F_SETPIPE_SZ, content.size);
  for (const bytes of content.packets) {
    table.doExpecting(['fill', what], bytes.length, SYS.write, fd, { bytes }, bytes.length);
  }
}
