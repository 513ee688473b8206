/**
 * Settings of a terminal: line settings (termios), which of them are locked, and the size of its window (man 2 TCSETS,
 * TIOCSLCKTRMIOS, TIOCSWINSZ). Both sides of a pseudo terminal show those of the slave.
 */
import type { TermiosEntry, WinsizeEntry } from '../../../image/gen/tty.ts';
import { SIG_BLOCK, SIG_SETMASK, SIGTTIN, SIGTTOU } from '../../../linux/abi/signal.ts';
import { SYS } from '../../../linux/abi/syscall-numbers.ts';
import {
  NCCS,
  TCGETS,
  TCSETS,
  TERMIOS,
  TERMIOS_BYTES,
  TIOCGLCKTRMIOS,
  TIOCGWINSZ,
  TIOCSLCKTRMIOS,
  TIOCSWINSZ,
  WINSIZE_BYTES,
} from '../../../linux/abi/tty.ts';
import { check, syscall } from '../../../linux/kernel.ts';
import { ioctl } from '../../../linux/syscalls/fs.ts';

export interface Settings {
  readonly termios: TermiosEntry;
  readonly termios_locked: TermiosEntry;
  readonly winsize: WinsizeEntry;
}

/** How many bytes of control characters the image has room for: as many as the C library's struct termios. */
const CC_BYTES = 32;

/**
 * Control characters as the image has them: NCCS words, of which the first ones hold four characters each, in memory
 * order, and the others nothing (CRIU copies the bytes of an array into an array of words).
 */
export function packControlCharacters(characters: Uint8Array): number[] {
  const words = new Uint32Array(NCCS);
  new Uint8Array(words.buffer).set(characters.subarray(0, NCCS));
  return [...words];
}

/** The inverse of packControlCharacters. */
export function controlCharacters({ c_cc }: TermiosEntry): Uint8Array {
  const words = Uint32Array.from(c_cc.slice(0, CC_BYTES / 4));
  return new Uint8Array(words.buffer).slice(0, NCCS);
}

/** struct termios (asm-generic/termbits.h) as an entry; the speeds are in c_cflag, the fields for them stay 0. */
export function parseTermios(bytes: Uint8Array): TermiosEntry {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    c_iflag: view.getUint32(TERMIOS.c_iflag, true),
    c_oflag: view.getUint32(TERMIOS.c_oflag, true),
    c_cflag: view.getUint32(TERMIOS.c_cflag, true),
    c_lflag: view.getUint32(TERMIOS.c_lflag, true),
    c_line: view.getUint8(TERMIOS.c_line),
    c_ispeed: 0,
    c_ospeed: 0,
    c_cc: packControlCharacters(bytes.subarray(TERMIOS.c_cc, TERMIOS.c_cc + NCCS)),
  };
}

/** The inverse of parseTermios. */
export function packTermios(entry: TermiosEntry): Uint8Array {
  const bytes = new Uint8Array(TERMIOS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(TERMIOS.c_iflag, entry.c_iflag, true);
  view.setUint32(TERMIOS.c_oflag, entry.c_oflag, true);
  view.setUint32(TERMIOS.c_cflag, entry.c_cflag, true);
  view.setUint32(TERMIOS.c_lflag, entry.c_lflag, true);
  view.setUint8(TERMIOS.c_line, entry.c_line);
  bytes.set(controlCharacters(entry), TERMIOS.c_cc);
  return bytes;
}

/** struct winsize as an entry. */
export function parseWinsize(bytes: Uint8Array): WinsizeEntry {
  const [ws_row = 0, ws_col = 0, ws_xpixel = 0, ws_ypixel = 0] = new Uint16Array(bytes.slice(0, WINSIZE_BYTES).buffer);
  return { ws_row, ws_col, ws_xpixel, ws_ypixel };
}

/** The inverse of parseWinsize. */
export function packWinsize({ ws_row, ws_col, ws_xpixel, ws_ypixel }: WinsizeEntry): Uint8Array {
  return new Uint8Array(Uint16Array.of(ws_row, ws_col, ws_xpixel, ws_ypixel).buffer);
}

/** An ioctl that has to succeed. Throws SyscallError naming the request. */
export function mustIoctl(fd: number, request: number, arg: Uint8Array | Int32Array | number, name: string): number {
  return check('ioctl', ioctl(fd, request, arg), name);
}

/** Reads the line settings of the terminal behind a descriptor of ours. Throws SyscallError. */
export function readTermios(fd: number): TermiosEntry {
  const bytes = new Uint8Array(TERMIOS_BYTES);
  mustIoctl(fd, TCGETS, bytes, 'TCGETS');
  return parseTermios(bytes);
}

/** Reads all settings of the terminal behind a descriptor of ours. Throws SyscallError. */
export function readSettings(fd: number): Settings {
  const locked = new Uint8Array(TERMIOS_BYTES);
  const winsize = new Uint8Array(WINSIZE_BYTES);
  mustIoctl(fd, TIOCGLCKTRMIOS, locked, 'TIOCGLCKTRMIOS');
  mustIoctl(fd, TIOCGWINSZ, winsize, 'TIOCGWINSZ');
  return { termios: readTermios(fd), termios_locked: parseTermios(locked), winsize: parseWinsize(winsize) };
}

/** Sets the line settings. Throws SyscallError. */
export function writeTermios(fd: number, termios: TermiosEntry): void {
  mustIoctl(fd, TCSETS, packTermios(termios), 'TCSETS');
}

/**
 * Sets what is known; the lock comes last, since locked settings cannot be changed any more. Without CAP_SYS_ADMIN
 * nothing can be locked; that is only an error when something has to be. Throws SyscallError.
 */
export function writeSettings(fd: number, settings: { [key in keyof Settings]?: Settings[key] | undefined }): void {
  const { termios, termios_locked, winsize } = settings;
  if (termios !== undefined) writeTermios(fd, termios);
  if (winsize !== undefined) mustIoctl(fd, TIOCSWINSZ, packWinsize(winsize), 'TIOCSWINSZ');
  if (termios_locked === undefined) return;
  const wanted = packTermios(termios_locked);
  const now = new Uint8Array(TERMIOS_BYTES);
  mustIoctl(fd, TIOCGLCKTRMIOS, now, 'TIOCGLCKTRMIOS');
  if (Buffer.compare(wanted, now) !== 0) mustIoctl(fd, TIOCSLCKTRMIOS, wanted, 'TIOCSLCKTRMIOS');
}

const JOB_CONTROL = (1n << BigInt(SIGTTIN - 1)) | (1n << BigInt(SIGTTOU - 1));

/** Does something with a terminal that may be our own, without being stopped for it as a background process. */
export function withoutJobControl<T>(action: () => T): T {
  const old = new BigUint64Array(1);
  syscall(SYS.rt_sigprocmask, SIG_BLOCK, BigUint64Array.of(JOB_CONTROL), old, 8);
  try {
    return action();
  } finally {
    syscall(SYS.rt_sigprocmask, SIG_SETMASK, old, 0, 8);
  }
}
