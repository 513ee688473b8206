/**
 * userfaultfd(2), ioctl_userfaultfd(2): putting pages into an address space whose missing pages are ours to bring, and the
 * messages about it. A descriptor belongs to the address space of the task that made it, whoever holds it.
 */

import { SYS } from '../abi/syscall-numbers.ts';
import {
  UFFD_API,
  UFFD_EVENT_FORK,
  UFFD_EVENT_PAGEFAULT,
  UFFD_EVENT_REMAP,
  UFFD_EVENT_REMOVE,
  UFFD_EVENT_UNMAP,
  UFFD_MSG_BYTES,
  UFFDIO_API,
  UFFDIO_COPY,
  UFFDIO_REGISTER,
  UFFDIO_WAKE,
  UFFDIO_ZEROPAGE,
} from '../abi/userfaultfd.ts';
import { syscall } from '../kernel.ts';

/** The words of a request, for the kernel to read and to answer in. */
const words = new BigInt64Array(new ArrayBuffer(40));

function request(uffd: number, nr: number, ...values: readonly number[]): number {
  for (let i = 0; i < words.length; i++) words[i] = BigInt(values[i] ?? 0);
  return syscall(SYS.ioctl, uffd, nr, words);
}

/** userfaultfd(2): a descriptor or −errno. */
export function tryUserfaultfd(flags: number): number {
  return syscall(SYS.userfaultfd, flags);
}

/** UFFDIO_API: what is wanted of it; 0 or −errno. It comes before all else. */
export function tryUffdApi(uffd: number, features: number): number {
  return request(uffd, UFFDIO_API, UFFD_API, features);
}

/** UFFDIO_REGISTER of a range; 0 or −errno. */
export function tryUffdRegister(uffd: number, start: number, bytes: number, mode: number): number {
  return request(uffd, UFFDIO_REGISTER, start, bytes, mode);
}

/** UFFDIO_COPY from memory of ours, all at addresses. Returns how many bytes were copied, less than all or not; or −errno. */
export function tryUffdCopy(uffd: number, to: number, from: number, bytes: number): number {
  const result = request(uffd, UFFDIO_COPY, to, from, bytes);
  const copied = Number(words[4]);
  return copied > 0 ? copied : result < 0 ? result : bytes;
}

/** UFFDIO_ZEROPAGE of a range; 0 or −errno. */
export function tryUffdZeropage(uffd: number, start: number, bytes: number): number {
  return request(uffd, UFFDIO_ZEROPAGE, start, bytes);
}

/** UFFDIO_WAKE: whoever waits for a page of the range tries again. */
export function uffdWake(uffd: number, start: number, bytes: number): void {
  request(uffd, UFFDIO_WAKE, start, bytes);
}

/** A thread waits for a page; or a change that the task has made, and that goes on when its message is read. */
export type UffdMessage =
  | { readonly event: typeof UFFD_EVENT_PAGEFAULT; readonly address: number; readonly tid: number }
  | { readonly event: typeof UFFD_EVENT_FORK; readonly uffd: number }
  | { readonly event: typeof UFFD_EVENT_REMAP; readonly from: number; readonly to: number; readonly bytes: number }
  | {
      readonly event: typeof UFFD_EVENT_REMOVE | typeof UFFD_EVENT_UNMAP;
      readonly start: number;
      readonly end: number;
    };

const MESSAGES_MAX = 32;
const buffer = new Uint8Array(new ArrayBuffer(MESSAGES_MAX * UFFD_MSG_BYTES));

/** The next messages, none if there are none yet; or −errno. The descriptor must not block. */
export function tryReadMessages(uffd: number): UffdMessage[] | number {
  const bytes = syscall(SYS.read, uffd, buffer, buffer.length);
  return bytes < 0 ? bytes : parseMessages(buffer.subarray(0, bytes));
}

/** struct uffd_msg, one after the other (linux/userfaultfd.h). Pure. */
export function parseMessages(bytes: Uint8Array): UffdMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: UffdMessage[] = [];
  for (let at = 0; at + UFFD_MSG_BYTES <= bytes.length; at += UFFD_MSG_BYTES) {
    const word = (index: number) => Number(view.getBigUint64(at + 8 + 8 * index, true));
    const event = view.getUint8(at);
    if (event === UFFD_EVENT_PAGEFAULT) messages.push({ event, address: word(1), tid: view.getInt32(at + 24, true) });
    else if (event === UFFD_EVENT_FORK) messages.push({ event, uffd: view.getInt32(at + 8, true) });
    else if (event === UFFD_EVENT_REMAP) messages.push({ event, from: word(0), to: word(1), bytes: word(2) });
    else if (event === UFFD_EVENT_REMOVE || event === UFFD_EVENT_UNMAP) {
      messages.push({ event, start: word(0), end: word(1) });
    }
  }
  return messages;
}
