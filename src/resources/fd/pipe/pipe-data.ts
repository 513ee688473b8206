/**
 * The bytes in a pipe or FIFO, and its size.
 *
 * At dump they are read without taking them out: tee(2) copies the buffers into a pipe of ours. One entry holds all
 * bytes. In packet mode (O_DIRECT, man 2 pipe) there is one entry for each packet, in order; CRIU refuses such pipes.
 */

import { Program, type Result } from '../../../agent/program.ts';
import { setWord } from '../../../base/bytes.ts';
import { DataRows } from '../../../image/data-rows.ts';
import { FdTypes } from '../../../image/gen/fdinfo.ts';
import { isPaired, type OpenFiles } from '../../../image/open-files.ts';
import { ERRNO, errnoName } from '../../../linux/abi/errno.ts';
import { F_GETPIPE_SZ, F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { addressOf } from '../../../linux/kernel.ts';
import { fcntl } from '../../../linux/syscalls/fs.ts';
import { pipe2, SPLICE_F_NONBLOCK, tryRead } from '../../../linux/syscalls/pipe.ts';
import { OwnCalls } from '../../../tracee/own-calls.ts';
import { contextState } from '../context-state.ts';
import { withoutOwner } from '../data-owner.ts';
import type { FdTablePlan } from '../fd-table/fd-table-plan.ts';
import type { KindDump, OpenFile, RestoreContext, Unsupported } from '../file-kind.ts';
import { filesOfType } from '../files-of-type.ts';

type Image = 'pipes-data' | 'fifo-data';

/** The number of a pipe in the image: 32 bits of its inode number. */
export function pipeId(file: OpenFile): number {
  return file.stat.st_ino >>> 0;
}

/** Whether it is a pipe without a name: the kernel calls it pipe:[INODE] (fs/pipe.c pipefs_dname()). */
export const isAnonymousPipe = ({ link }: OpenFile): boolean => link.startsWith('pipe:[');

/** Saves size and content of the pipe behind `file`, a readable end, once. */
export function dumpPipeData(image: Image, file: OpenFile, dump: KindDump): Unsupported | undefined {
  const pipe_id = pipeId(file);
  const reader = dump.state('pipe reader', () => new PipeReader(dump));
  if (!reader.isFirst(image, pipe_id)) return undefined;
  const content = reader.read(file.localFd);
  if ('unsupported' in content) return content;
  const { size, packets } = content;
  if (packets.length === 0) dump.addData(image, { message: { pipe_id, bytes: 0, size }, payload: NOTHING });
  for (const payload of packets) dump.addData(image, { message: { pipe_id, bytes: payload.length, size }, payload });
  return undefined;
}

const NOTHING = new Uint8Array(0);
/** Contents are read into memory that is allocated in pieces of this size, or of a whole pipe. */
const CHUNK_BYTES = 1 << 20;

/** Reads one pipe after the other, by a pipe of our own that it is copied to: three calls, which one program makes. */
class PipeReader {
  readonly #reader: number;
  readonly #writer: number;
  /** Of our own pipe. */
  #size: number;
  readonly #calls: OwnCalls;
  readonly #results: Readonly<Record<'size' | 'copied' | 'read', Result>>;
  readonly #at: Readonly<Record<'fd' | 'bytes' | 'target', number>>;
  #chunk = new Uint8Array(0);
  #used = 0;
  readonly #seen = { 'pipes-data': new Set<number>(), 'fifo-data': new Set<number>() } as const;

  constructor(dump: KindDump) {
    const [reader, writer] = pipe2(O_CLOEXEC | O_NONBLOCK);
    dump.closeAfterwards(reader);
    dump.closeAfterwards(writer);
    this.#reader = reader;
    this.#writer = writer;
    this.#size = fcntl(writer, F_GETPIPE_SZ);
    const program = new Program();
    const [fd, bytes, target] = [program.words(0), program.words(0), program.words(0)];
    const size = program.call(SYS.fcntl, program.wordAt(fd), F_GETPIPE_SZ, 0);
    const copied = program.call(SYS.tee, program.wordAt(fd), writer, program.wordAt(bytes), SPLICE_F_NONBLOCK);
    const read = program.call(SYS.read, reader, program.wordAt(target), program.wordAt(bytes));
    this.#results = { size, copied, read };
    this.#calls = new OwnCalls(program);
    this.#at = {
      fd: this.#calls.offsetOf(fd),
      bytes: this.#calls.offsetOf(bytes),
      target: this.#calls.offsetOf(target),
    };
  }

  /** True for the first call: a pipe has several ends. */
  isFirst(image: Image, id: number): boolean {
    const seen = this.#seen[image];
    if (seen.has(id)) return false;
    seen.add(id);
    return true;
  }

  /** Size and content of the pipe behind a readable end, which keeps both. */
  read(fd: number): PipeContent | Unsupported {
    const calls = this.#calls;
    this.#reserve();
    setWord(calls.view, this.#at.fd, fd);
    setWord(calls.view, this.#at.bytes, this.#size);
    setWord(calls.view, this.#at.target, addressOf(this.#chunk) + this.#used);
    calls.run();
    const size = calls.result(this.#results.size);
    if (size < 0) return { unsupported: `its size cannot be read (${errnoName(-size)})` };
    const copied = calls.result(this.#results.copied);
    if (copied < 0 && copied !== -ERRNO.EAGAIN)
      return { unsupported: `its content cannot be read (${errnoName(-copied)})` };
    const packets = this.#take(Math.max(copied, 0), calls.result(this.#results.read));
    // There may be more than our own pipe could take.
    return size > this.#size && copied > 0 ? (this.#grow(size) ?? this.read(fd)) : { size, packets };
  }

  /** Makes room for as much as our own pipe can hold. */
  #reserve(): void {
    if (this.#chunk.length - this.#used >= this.#size) return;
    // An array with a buffer of its own never moves.
    this.#chunk = new Uint8Array(new ArrayBuffer(Math.max(this.#size, CHUNK_BYTES)));
    this.#used = 0;
  }

  /**
   * A read returns everything up to the end of a packet, or all when there are no packets (fs/pipe.c pipe_read()). Copies
   * made by tee keep the mark of a packet (fs/splice.c link_pipe()). The reading end does not know of packet mode. All is
   * read, so the pipe is empty again. `first`: what the first read returned.
   */
  #take(bytes: number, first: number): Uint8Array[] {
    const packets: Uint8Array[] = [];
    let left = bytes;
    for (let got = first; left > 0 && got > 0; ) {
      packets.push(this.#chunk.subarray(this.#used, this.#used + got));
      this.#used += got;
      left -= got;
      if (left > 0) got = tryRead(this.#reader, this.#chunk.subarray(this.#used));
    }
    return packets;
  }

  #grow(size: number): Unsupported | undefined {
    const result = fcntl(this.#writer, F_SETPIPE_SZ, size);
    if (result < size) {
      return {
        unsupported: `its content cannot be read without a pipe of ${size} bytes (${errnoName(-result)})`,
        remedy: 'raise /proc/sys/fs/pipe-max-size or pipe-user-pages-soft',
      };
    }
    this.#size = result;
    return undefined;
  }
}

/** What was in a pipe. */
export interface PipeContent {
  readonly size: number | undefined;
  readonly packets: readonly Uint8Array[];
}

/** The content of pipe `id`; undefined when the image has none. */
export function pipeContent(image: Image, id: number, context: RestoreContext): PipeContent | undefined {
  return (image === 'pipes-data' ? pipeContents : fifoContents)(context).get(id);
}

/** All of pipes-data.img. */
export const pipeRows = contextState('pipes-data rows', ({ images }) => DataRows.read('pipes-data', images));

const pipeContents = contextState('pipes-data', (context) => contentsOf('pipes-data', pipeRows(context), context));
const fifoContents = contextState('fifo-data', (context) =>
  contentsOf('fifo-data', DataRows.read('fifo-data', context.images), context),
);

/** Those of pipes that are entries. */
function contentsOf(image: Image, rows: DataRows<Image>, context: RestoreContext): Map<number, PipeContent> {
  const contents = new Map<number, { size: number | undefined; packets: Uint8Array[] }>();
  const { files } = context.tree;
  const pipes = new Set<number | undefined>();
  const type = image === 'pipes-data' ? FdTypes.PIPE : FdTypes.FIFO;
  for (const { pipe, fifo } of filesOfType(files, type)) pipes.add((pipe ?? fifo)?.pipe_id);
  const paired = image === 'pipes-data' ? pairedPipes(files) : new Set();
  for (let row = 0; row < rows.count; row++) {
    if (!rows.others.has(row) && paired.has(rows.owners[row])) continue;
    const { message, payload } = rows.element(row);
    if (!pipes.has(message.pipe_id)) throw withoutOwner(image, row, 'pipe_id', message.pipe_id);
    const content = contents.get(message.pipe_id) ?? { size: message.size, packets: [] };
    if (payload.length > 0) content.packets.push(payload);
    contents.set(message.pipe_id, content);
  }
  return contents;
}

/** The numbers of pipes whose ends are rows. */
function pairedPipes(files: OpenFiles): ReadonlySet<number | undefined> {
  const numbers = new Set<number>();
  const { ends } = files;
  for (let row = 0; row < (ends?.count ?? 0); row++) {
    if (isPaired(files, ends?.ids[row] ?? 0)) numbers.add(ends?.numbers[row] ?? 0);
  }
  return numbers;
}

/** Sets the size and writes the content into a pipe through `fd`. */
export function planPipeContent(table: FdTablePlan, fd: number, what: string, content: PipeContent | undefined): void {
  if (content === undefined) return;
  if (content.size !== undefined) table.do(['set the size of', what], SYS.fcntl, fd, F_SETPIPE_SZ, content.size);
  for (const bytes of content.packets) {
    table.doExpecting(['fill', what], bytes.length, SYS.write, fd, { bytes }, bytes.length);
  }
}
