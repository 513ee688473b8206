/**
 * Rings of asynchronous I/O: the task makes a new one, moves it to the address of the old one (the kernel follows,
 * fs/aio.c aio_ring_mremap()), and gets its events back.
 *
 * The kernel has a tail of its own that no call sets. So as many requests are made as it takes: writes to /dev/null, which
 * are complete when io_submit(2) returns.
 */
import type { Abi } from '../../agent/abi.ts';
import { Program } from '../../agent/program.ts';
import { CriuError } from '../../base/errors.ts';
import type { AioRingEntry } from '../../image/gen/mm.ts';
import { errnoName } from '../../linux/abi/errno.ts';
import { AT_FDCWD, O_WRONLY } from '../../linux/abi/fcntl.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_READ,
  PROT_WRITE,
} from '../../linux/abi/mman.ts';
import { SYS } from '../../linux/abi/syscall-numbers.ts';
import type { HostTask } from '../../tracee/host.ts';
import { readMemory, writeMemory } from '../../tracee/memory.ts';
import { AIO_HEAD_OFFSET, AIO_HEADER_BYTES, completionsNeeded, parseRing } from './aio-ring.ts';

/** Makes a ring in a task whose other mappings are there already. `content` is the old ring. */
export function restoreRing(host: HostTask, ring: AioRingEntry, content: Uint8Array, abi: Abi): void {
  const { pid } = host;
  const old = parseRing(content);
  makeRing(host, ring, abi);
  const { slots } = parseRing(readMemory(pid, ring.id, AIO_HEADER_BYTES));
  if (old.slots !== slots || old.head >= slots || old.tail >= slots) {
    throw new CriuError({
      object: `task ${pid}`,
      action: `cannot get back its ring of asynchronous I/O: this kernel gives it ${slots} slots, it had ${old.slots}`,
      why: 'the number depends on the number of CPUs',
    });
  }
  if (old.tail !== 0 || old.head !== 0) moveTail(host, ring.id, old.head, completionsNeeded(old), abi);
  writeMemory(pid, ring.id + AIO_HEADER_BYTES, content.subarray(AIO_HEADER_BYTES, ring.ring_len));
  writeHead(pid, ring.id, old.head);
}

function makeRing(host: HostTask, { id, nr_req, ring_len }: AioRingEntry, abi: Abi): void {
  const program = new Program();
  const context = program.words(0);
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
  // Else the new ring could overlap the place of the old one, and then it can't be moved there.
  const reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  program.must('reserve room for a ring of asynchronous I/O', SYS.mmap, id, ring_len, 0, reserve, -1, 0);
  program.mustAs('make a ring of asynchronous I/O', abi, 'io_setup', nr_req, context);
  program.must('place a ring of asynchronous I/O', SYS.mremap, program.wordAt(context), ring_len, ring_len, flags, id);
  program.stop();
  host.run(program);
}

/** How many requests are made at once. */
const BATCH = 512;
/** struct iocb. */
const IOCB_BYTES = 64;
const IOCB_CMD_PWRITE = 1;

function moveTail(host: HostTask, context: number, head: number, count: number, abi: Abi): void {
  const bytes = IOCB_BYTES + 8 * BATCH;
  const begin = new Program();
  const protection = PROT_READ | PROT_WRITE;
  const room = begin.mustAs('map requests', abi, 'mmap', 0, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const file = begin.must('open /dev/null', SYS.openat, AT_FDCWD, begin.string('/dev/null'), O_WRONLY);
  begin.stop();
  host.run(begin);
  const [address, fd] = [host.result(room), host.result(file)];
  writeMemory(host.pid, address, requests(address, fd));
  for (let done = 0; done < count; ) {
    done += submit(host, context, Math.min(count - done, BATCH), address + IOCB_BYTES);
    // What the head has passed can be used again.
    writeHead(host.pid, context, Math.min(done, head));
  }
  const end = new Program();
  end.must('close /dev/null', SYS.close, fd);
  end.must('unmap requests', SYS.munmap, address, bytes);
  end.stop();
  host.run(end);
}

/** One request to write one byte, and an array of pointers to it. */
function requests(address: number, fd: number): Uint8Array {
  const words = new BigUint64Array(IOCB_BYTES / 8 + BATCH).fill(BigInt(address), IOCB_BYTES / 8);
  const bytes = new Uint8Array(words.buffer);
  const view = new DataView(bytes.buffer);
  view.setUint16(16, IOCB_CMD_PWRITE, true);
  view.setUint32(20, fd, true);
  view.setBigUint64(24, BigInt(address), true);
  view.setBigUint64(32, 1n, true);
  return bytes;
}

/** Returns how many were taken: it may be fewer, since the kernel hands out slots in batches per CPU. */
function submit(host: HostTask, context: number, count: number, pointers: number): number {
  const program = new Program();
  const submitted = program.call(SYS.io_submit, context, count, pointers);
  program.stop();
  host.run(program);
  const result = host.result(submitted);
  if (result > 0) return result;
  throw new CriuError({
    object: `task ${host.pid}`,
    action: `cannot get back its ring of asynchronous I/O (io_submit: ${errnoName(-result)})`,
  });
}

function writeHead(pid: number, context: number, head: number): void {
  writeMemory(pid, context + AIO_HEAD_OFFSET, new Uint8Array(Uint32Array.of(head).buffer));
}
