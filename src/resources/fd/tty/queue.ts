/**
 * What was written to one side of a pseudo terminal and not yet read from the other.
 *
 * It can only be looked at by reading it, so it is taken out at the very end of a dump, and written back when the tree
 * goes on. It is written as it is: while that happens the terminal neither echoes nor translates (man 3 termios), but in
 * canonical mode it keeps collecting lines, so that each is read by itself again.
 */
import type { TermiosEntry } from '../../../image/gen/tty.ts';
import { F_GETFL, F_SETFL, O_NONBLOCK } from '../../../linux/abi/fcntl.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import { NCCS, TIOCINQ } from '../../../linux/abi/tty.ts';
import { syscall } from '../../../linux/kernel.ts';
import { fcntl, ioctl } from '../../../linux/syscalls/fs.ts';
import { tryRead } from '../../../linux/syscalls/pipe.ts';
import { packControlCharacters, readTermios, writeTermios } from './settings.ts';

/** c_lflag: input comes in lines. */
const ICANON = 0o2;
const VMIN = 6;
const NEWLINE = 0x0a;

/** Settings for moving bytes unchanged; input stays in lines or not, as it is. */
export function plainTermios(termios: TermiosEntry, isCanonical = (termios.c_lflag & ICANON) !== 0): TermiosEntry {
  // All characters are off; a read need not wait for more than one byte.
  const characters = new Uint8Array(NCCS);
  if (!isCanonical) characters[VMIN] = 1;
  const c_cc = packControlCharacters(characters);
  return { ...termios, c_iflag: 0, c_oflag: 0, c_lflag: isCanonical ? ICANON : 0, c_cc };
}

/** Runs with O_NONBLOCK on the open file, and the flags as before afterwards. */
function nonBlocking<T>(fd: number, action: () => T): T {
  const flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  try {
    return action();
  } finally {
    fcntl(fd, F_SETFL, flags);
  }
}

/** Takes out all that can be read from a master. */
export function takeFromMaster(fd: number): Uint8Array {
  return nonBlocking(fd, () => readChunks(fd));
}

/**
 * Takes out all that can be read from a slave: complete lines, and in canonical mode also the line that is being typed.
 * Throws SyscallError.
 */
export function takeFromSlave(fd: number): Uint8Array {
  return nonBlocking(fd, () => {
    const termios = readTermios(fd);
    if ((termios.c_lflag & ICANON) === 0) return readChunks(fd);
    const lines = readChunks(fd);
    writeTermios(fd, plainTermios(termios, false));
    try {
      return Buffer.concat([lines, readChunks(fd)]);
    } finally {
      writeTermios(fd, termios);
    }
  });
}

const CHUNK_BYTES = 4096;
const ENDS_MAX = 64;

/** Reads until nothing is left. An empty read is an end of file that was typed; there may be more behind it. */
function readChunks(fd: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let ends = 0; ends < ENDS_MAX; ) {
    const got = tryRead(fd, buffer);
    if (got < 0) break;
    if (got === 0) ends++;
    else chunks.push(buffer.slice(0, got));
  }
  return Buffer.concat(chunks);
}

/** Writes as much as fits without waiting; returns how many bytes that was. */
export function put(fd: number, bytes: Uint8Array): number {
  return nonBlocking(fd, () => {
    let done = 0;
    while (done < bytes.length) {
      const written = syscall(SYS.write, fd, bytes.subarray(done), bytes.length - done);
      if (written <= 0) break;
      done += written;
    }
    return done;
  });
}

const POLLIN = 1;
const POLLHUP = 0x10;

/** poll(2) of one descriptor; returns what happened. */
function poll(fd: number, events: number, timeoutMs: number): number {
  const request = new Uint8Array(8);
  const view = new DataView(request.buffer);
  view.setInt32(0, fd, true);
  view.setUint16(4, events, true);
  return syscall(SYS.poll, request, 1, timeoutMs) > 0 ? view.getUint16(6, true) : 0;
}

/** Whether the slave side of a master was open, and nobody has it open any more: reading from the master fails. */
export function isHungUp(master: number): boolean {
  return (poll(master, 0, 0) & POLLHUP) !== 0;
}

const LDISC_BYTES = 4095;
const TRIES = 100;

/**
 * Waits until what was written has arrived in the line discipline of the side that `fd` reads from: a worker of the
 * kernel passes it on (drivers/tty/tty_buffer.c flush_to_ldisc()) and would use settings that are made meanwhile. A poll
 * that finds nothing waits for the worker (drivers/tty/n_tty.c n_tty_poll()).
 */
function awaitArrival(fd: number, bytes: Uint8Array, isCanonical: boolean): void {
  const expected = isCanonical ? bytes.lastIndexOf(NEWLINE) + 1 : bytes.length;
  const count = new Int32Array(1);
  for (let tries = 0; tries < TRIES; tries++) {
    poll(fd, POLLIN, 1);
    if (ioctl(fd, TIOCINQ, count) < 0 || (count[0] ?? 0) >= Math.min(expected, LDISC_BYTES)) return;
    Bun.sleepSync(1);
  }
}

/** What both queues of a pseudo terminal hold, named by the side that reads it. */
export interface Queues {
  readonly master: Uint8Array;
  readonly slave: Uint8Array;
}

/** Fills the queues through descriptors of both sides that can be written to; sets `termios` at the end. */
export function fillQueues(master: number, slave: number, queues: Queues, termios: TermiosEntry): boolean {
  const isCanonical = (termios.c_lflag & ICANON) !== 0;
  writeTermios(slave, plainTermios(termios));
  const written = put(slave, queues.master) + put(master, queues.slave);
  if (queues.master.length > 0) awaitArrival(master, queues.master, false);
  if (queues.slave.length > 0) awaitArrival(slave, queues.slave, isCanonical);
  writeTermios(slave, termios);
  return written === queues.master.length + queues.slave.length;
}
