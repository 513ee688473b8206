/** The program by which the launcher's agent makes the process of an image again. */
import { resumeCode } from '../../src/agent/agent-code.ts';
import { Program } from '../../src/agent/program.ts';
import { assert } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import { EPOLL_CTL_ADD } from '../../src/linux/abi/event.ts';
import {
  MADV_HUGEPAGE,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
} from '../../src/linux/abi/mman.ts';
import { PIDFD_SELF_THREAD_GROUP } from '../../src/linux/abi/pidfd.ts';
import { ARCH_SET_FS } from '../../src/linux/abi/prctl.ts';
import { USER_REGS } from '../../src/linux/abi/ptrace.ts';
import { SIGSET_BYTES } from '../../src/linux/abi/signal.ts';
import { SYS } from '../../src/linux/abi/syscall-numbers.ts';
import { UIO_MAXIOV } from '../../src/linux/abi/uio.ts';
import type { MapsEntry } from '../../src/proc/maps.ts';
import { FIRST_FD, HUGE_PAGE_BYTES } from '../../src/start/layout.ts';
import type { Capture } from './capture.ts';
import { type HotPages, type Pages, pagesOf, type Range, rangesIn, WINDOW_BYTES } from './hot-pages.ts';
import { FILE_FD, RESUME_AT } from './launcher.ts';

/** What the launcher's agent executes, one after the other. */
export interface StartPrograms {
  readonly memory: Program;
  /** By command, what comes next when the command line begins with it. */
  readonly hotPages: Partial<Record<Command, HotPrograms>>;
  readonly rest: Program;
}

/** What makes hot pages ready where faults are cheap, and where they are dear (see launcher.ts). */
export interface HotPrograms {
  readonly cheap: Program;
  readonly dear: Program;
}

/** Commands that have much to write; `swrk` is told what to do later. */
export const COMMANDS = ['dump', 'restore', 'swrk'] as const;
export type Command = (typeof COMMANDS)[number];

/** `fileOffset`: where the content of the image begins in the executable; `hot`: pages that a command will touch. */
export function planStart(
  capture: Capture,
  fileOffset: number,
  hot: Partial<Record<Command, HotPages>>,
): StartPrograms {
  const [memory, rest] = [new Program(), new Program()];
  planMemory(memory, capture, fileOffset, hugeRoom(capture, hot));
  planThread(rest, capture);
  planEpoll(rest, capture.fdinfo);
  rest.leave(RESUME_AT);
  const hotPages: StartPrograms['hotPages'] = {};
  for (const command of COMMANDS) {
    const pages = hot[command];
    if (pages === undefined) continue;
    hotPages[command] = {
      cheap: planHotPages(capture, pages.always.written),
      dear: planDearPages(pages.sometimes, dearHugePages(capture, hot, command)),
    };
  }
  return { memory, hotPages, rest };
}

/** From so many bytes on one call for all pages takes less time than to write to each: 2.6 and 1.9 microseconds for one. */
const CALL_BYTES_MIN = 3 * PAGE_BYTES;

/** Makes the process have these pages for itself. What is written to one is what it has. */
export function planHotPages(capture: Pick<Capture, 'runs' | 'content'>, ranges: readonly Range[]): Program {
  const program = new Program();
  for (const { address, bytes } of ranges) {
    if (bytes >= CALL_BYTES_MIN) {
      program.call(SYS.madvise, address, bytes, MADV_POPULATE_WRITE);
      continue;
    }
    for (const page of pagesOf({ address, bytes })) program.store32(page, wordAt(capture, page));
  }
  return program;
}

/**
 * The same where faults are dear, of all that may be written, and then what may be read, with a list of ranges for each: a page
 * that is not needed after all takes a tenth of a fault, and one call for a range longer than making its page. Of each window
 * that will be read one page is asked for, and the kernel maps the others with it; not one that is written, for it is there
 * already.
 */
export function planDearPages({ written, read }: Pages, huge: readonly Range[]): Program {
  const program = new Program();
  for (const { address, bytes } of huge) program.call(SYS.madvise, address, bytes, MADV_HUGEPAGE);
  const small = written.flatMap(pagesOf).filter((page) => !huge.some((piece) => isInside(page, piece)));
  const populate = (ranges: readonly Range[], advice: number) => {
    for (let at = 0; at < ranges.length; at += UIO_MAXIOV) {
      const some = ranges.slice(at, at + UIO_MAXIOV);
      const list = program.words(...some.flatMap(({ address, bytes }) => [address, bytes]));
      program.call(SYS.process_madvise, PIDFD_SELF_THREAD_GROUP, list, some.length, advice, 0);
    }
  };
  populate(rangesIn([new Set(small)], 1, PAGE_BYTES), MADV_POPULATE_WRITE);
  populate(oneOfEachWindow(read, new Set(written.flatMap(pagesOf))), MADV_POPULATE_READ);
  return program;
}

function oneOfEachWindow(ranges: readonly Range[], written: ReadonlySet<number>): Range[] {
  const pages: Range[] = [];
  let window = -1;
  for (const page of ranges.flatMap(pagesOf)) {
    const its = Math.floor(page / WINDOW_BYTES);
    if (its === window || written.has(page)) continue;
    window = its;
    pages.push({ address: page, bytes: PAGE_BYTES });
  }
  return pages;
}

/** Four bytes of memory as they are in the image. */
function wordAt({ runs, content }: Pick<Capture, 'runs' | 'content'>, address: number): number {
  let at = 0;
  for (const run of runs) {
    if (isInside(address, run)) {
      return new DataView(content.buffer, content.byteOffset).getUint32(at + address - run.address, true);
    }
    at += run.bytes;
  }
  return 0;
}

/**
 * What is mapped of the file is asked for in huge pages. Then it is read that way (mm/filemap.c, do_sync_mmap_readahead): from
 * pages that lie anywhere in memory, as after a reboot, a small dump takes a third longer.
 */
function planMemory(p: Program, { areas, own, runs }: Capture, fileOffset: number, huge: readonly Range[]): void {
  const whole = new Set(runs.map(({ address, bytes }) => `${address} ${bytes}`));
  const anonymous = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE;
  for (const { start, end, prot } of areas) {
    if (whole.has(`${start} ${end - start}`)) continue;
    p.must('reserve', SYS.mmap, start, end - start, prot, anonymous, -1, 0);
  }
  for (const { address, bytes } of huge) p.call(SYS.madvise, address, bytes, MADV_HUGEPAGE);
  let at = fileOffset;
  for (const { address, bytes, prot } of runs) {
    p.must('map', SYS.mmap, address, bytes, prot, MAP_PRIVATE | MAP_FIXED, FILE_FD, at);
    p.call(SYS.madvise, address, bytes, MADV_HUGEPAGE);
    at += bytes;
  }
  for (const { start, end } of own) p.call(SYS.madvise, start, end - start, MADV_HUGEPAGE);
  p.call(SYS.close, FILE_FD);
}

/** A huge page takes as long as so many others, where faults are dear. */
const HUGE_PAGE_WORTH = 16;

type Heap = Pick<Capture, 'runs' | 'self'> & { readonly areas: readonly Pick<MapsEntry, 'start' | 'end'>[] };
type Written = Partial<Record<Command, { readonly sometimes: Pick<Pages, 'written'> }>>;

/**
 * Where the heap is and will be: what is empty of it comes in huge pages, but for those pieces where small runs write
 * some pages, for a huge one takes as long as a hundred of them. None while these are not known.
 */
export function hugeRoom(heap: Heap, hot: Written): Range[] {
  const area = areaOfHeap(heap);
  const isKnown = Object.values(hot).some(({ sometimes }) => sometimes.written.length > 0);
  if (area === undefined || !isKnown) return [];
  const ranges: Range[] = [];
  let address = area.start;
  for (const at of piecesWritten(heap, hot)) {
    if (at > address) ranges.push({ address, bytes: at - address });
    address = at + HUGE_PAGE_BYTES;
  }
  if (address < area.end) ranges.push({ address, bytes: area.end - address });
  return ranges;
}

/** The pieces left out of hugeRoom that are worth a huge page when a command runs where faults are dear. */
export function dearHugePages(heap: Heap, hot: Written, command: Command): Range[] {
  const counts = pagesInPieces(heap, hot[command]?.sometimes.written ?? []);
  return piecesWritten(heap, hot)
    .map((address) => ({ address, bytes: HUGE_PAGE_BYTES }))
    .filter(({ address }) => !counts.has(address) || (counts.get(address) ?? 0) >= HUGE_PAGE_WORTH)
    .filter((piece) => !heap.runs.some((run) => overlaps(piece, run)));
}

/** Addresses of pieces of the heap's empty memory, as big as a huge page, to which small runs write. In order. */
function piecesWritten(heap: Heap, hot: Written): number[] {
  const written = Object.values(hot).flatMap(({ sometimes }) => sometimes.written);
  return [...pagesInPieces(heap, written).keys()].sort((a, b) => a - b);
}

/** How many of the pages are in which piece. */
function pagesInPieces(heap: Heap, written: readonly Range[]): Map<number, number> {
  const pieces = new Map<number, number>();
  const area = areaOfHeap(heap);
  if (area === undefined) return pieces;
  for (const page of written.flatMap(pagesOf)) {
    const isEmpty = page >= area.start && page < area.end && !heap.runs.some((run) => isInside(page, run));
    const piece = page - (page % HUGE_PAGE_BYTES);
    if (isEmpty) pieces.set(piece, (pieces.get(piece) ?? 0) + 1);
  }
  return pieces;
}

const areaOfHeap = ({ areas, self: { heap } }: Heap) =>
  heap === undefined ? undefined : areas.find(({ start, end }) => heap >= start && heap < end);

const overlaps = (a: Range, b: Range) => a.address < b.address + b.bytes && b.address < a.address + a.bytes;
const isInside = (page: number, { address, bytes }: Range) => page >= address && page < address + bytes;

/** What belongs to the thread, and actions for signals. */
function planThread(p: Program, { registers, rseq, self }: Capture): void {
  const fs = (registers[USER_REGS.fs_base * 2] ?? 0) + (registers[USER_REGS.fs_base * 2 + 1] ?? 0) * 2 ** 32;
  p.must('thread-local storage', SYS.arch_prctl, ARCH_SET_FS, fs);
  const tidAddress = Number(self.tidAddress);
  p.store32(tidAddress, p.must('its id', SYS.set_tid_address, tidAddress));
  p.call(SYS.set_robust_list, ...self.robustList.map(BigInt));
  p.call(SYS.rseq, rseq.address, rseq.bytes, 0, rseq.signature);
  p.call(SYS.sigaltstack, p.words(...self.altStack.map(BigInt)), 0);
  for (const [signal, ...action] of self.actions) {
    const words = p.words(...action.map(BigInt));
    p.must('an action', SYS.rt_sigaction, Number(signal), words, 0, SIGSET_BYTES);
  }
}

/** The runtime waits for its eventfd. */
function planEpoll(p: Program, fdinfo: string): void {
  const targets = [...fdinfo.matchAll(/^tfd:\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)/gm)];
  const [[, fd, events = '', data = ''] = []] = targets;
  assert(targets.length === 1 && Number(fd) === FIRST_FD + 1, 'epoll has one target, the eventfd');
  const event = new DataView(new ArrayBuffer(12));
  event.setUint32(0, Number.parseInt(events, 16), true);
  event.setBigUint64(4, BigInt(`0x${data}`), true);
  p.must('epoll', SYS.epoll_ctl, FIRST_FD, EPOLL_CTL_ADD, FIRST_FD + 1, p.data(new Uint8Array(event.buffer)));
}

/** Code with which the process goes on after the system call in which it stopped; that returns 1. */
export function resumeFrom(registers: Uint32Array): Uint8Array {
  const back = new Uint32Array(registers);
  back[USER_REGS.rax * 2] = 1;
  back[USER_REGS.rax * 2 + 1] = 0;
  return resumeCode(back, {});
}
