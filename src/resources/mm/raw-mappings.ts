/**
 * Mappings as the kernel has them: records that a BPF program writes, and for those with more to them than addresses and
 * flags, what one question each tells. Whole tasks are compared by that, and it takes a quarter of the time of smaps.
 * Not all can be read this way: readMappings falls back to smaps.
 */
import { expectMany } from '../../base/hot-code.ts';
import { perRun } from '../../base/per-run.ts';
import { O_RDONLY } from '../../linux/abi/fcntl.ts';
import { close, readFile, readProc, tryOpen } from '../../linux/syscalls/fs.ts';
import { MAPPING_RECORD, type MappingFacts, tryQueryMapping, tryReadTaskMappings } from '../../linux/task-mappings.ts';
import { type MapsEntry, parseMaps, withoutMark } from '../../proc/maps.ts';
import type { SmapsEntry } from '../../proc/smaps.ts';
import { parseStat } from '../../proc/stat.ts';
import { areBitsKnown, flagsOf } from './vm-flags.ts';

/** What the kernel says of a task. When it is the same, so are the mappings. */
export interface RawMappings {
  /** See task-mappings.ts. */
  readonly records: Uint32Array;
  /** Where the page tables are; they are not compared. */
  readonly topTable: bigint;
  /** Those that are asked about, in order of address. */
  readonly asked: readonly Asked[];
}

interface Asked extends MappingFacts {
  /** Where its record begins. */
  readonly at: number;
}

const { halves: RECORD, start: START, end: END, flags: FLAGS, file: FILE, more: MORE } = MAPPING_RECORD;
const WORD = 2 ** 32;
/** With more that have to be asked about, smaps is as fast. */
const ASKED_MAX = 2000;

/* In vm_flags. The first three are as in PROT_*; what maps calls shared is VM_MAYSHARE. */
const PROT_BITS = 7;
const MAYSHARE = 0x80;
const GROWSDOWN = 0x100;

const wordAt = (halves: Uint32Array, at: number): number => (halves[at] ?? 0) + (halves[at + 1] ?? 0) * WORD;

/**
 * Undefined where it is not allowed, or something can't be told. `alike`: of a task that stands still as well; what is the
 * same in both is not asked again. Throws SyscallError when the task is gone.
 */
export function tryReadRaw(pid: number, alike?: RawMappings): RawMappings | undefined {
  const told = areBitsKnown() ? tryReadTaskMappings(pid) : undefined;
  if (told === undefined) return undefined;
  const { records } = told;
  if (alike !== undefined && isSameArray(records, alike.records)) return { ...told, asked: alike.asked };
  const fd = tryOpen(`/proc/${pid}/maps`, O_RDONLY);
  if (fd < 0) return undefined;
  try {
    const asked = tryAsk(fd, records, parseStat(readProc(`/proc/${pid}/stat`)).startBrk);
    return asked && { ...told, asked };
  } finally {
    close(fd);
  }
}

export function isSameRaw(one: RawMappings, other: RawMappings): boolean {
  if (!isSameArray(one.records, other.records)) return false;
  return one.asked === other.asked || one.asked.every((asked, i) => isSameFacts(asked, other.asked[i]));
}

const isSameFacts = (one: MappingFacts, other: MappingFacts | undefined): boolean =>
  one.offset === other?.offset &&
  one.major === other.major &&
  one.minor === other.minor &&
  one.inode === other.inode &&
  one.name === other.name;

const isSameArray = (one: Uint32Array, other: Uint32Array) => Buffer.compare(bytesOf(one), bytesOf(other)) === 0;
const bytesOf = ({ buffer, byteOffset, byteLength }: Uint32Array) => new Uint8Array(buffer, byteOffset, byteLength);

/** Asks about files, what has a name, stacks, and the heap, which begins at `heapStart`: it has no mark but its place. */
function tryAsk(mapsFd: number, records: Uint32Array, heapStart: number): Asked[] | undefined {
  const asked: Asked[] = [];
  let mayBeHeap = true;
  for (let at = 0; at < records.length; at += RECORD) {
    if (isPlain(records, at) && !(mayBeHeap && wordAt(records, at + END) > heapStart)) continue;
    const facts = asked.length < ASKED_MAX ? tryQueryMapping(mapsFd, wordAt(records, at + START)) : undefined;
    if (facts === undefined) return undefined;
    asked.push({ at, ...facts });
    if (isPlain(records, at)) mayBeHeap = facts.name === HEAP;
  }
  return asked;
}

const HEAP = '[heap]';

/** Whether there is nothing to it but addresses and flags, unless it is the heap. */
function isPlain(records: Uint32Array, at: number): boolean {
  return (
    ((records[at + FILE] as number) | (records[at + FILE + 1] as number)) === 0 &&
    ((records[at + MORE] as number) | (records[at + MORE + 1] as number)) === 0 &&
    ((records[at + FLAGS] as number) & (GROWSDOWN | MAYSHARE)) === 0
  );
}

/** Undefined when something is only said by smaps. */
export function tryParseRaw({ records, asked }: Pick<RawMappings, 'records' | 'asked'>): SmapsEntry[] | undefined {
  const entries: SmapsEntry[] = [];
  // Of thousands of mappings most are like the one before, or the one before that.
  let [kind, other]: (Kind | undefined)[] = [];
  let next = 0;
  let before = -1;
  expectMany(records.length / RECORD);
  for (let at = 0; at < records.length; at += RECORD) {
    const start = wordAt(records, at + START);
    // Behind that are those of threads with descriptors of their own.
    if (start <= before) break;
    before = start;
    const [low, high] = [records[at + FLAGS] as number, records[at + FLAGS + 1] as number];
    const facts = asked[next]?.at === at ? asked[next++] : undefined;
    if (facts !== undefined || !isOfKind(kind, low, high)) {
      const last: Kind | undefined = kind;
      kind = facts === undefined && isOfKind(other, low, high) ? other : tryMakeKind(facts, low, high);
      other = last;
    }
    if (kind === undefined) return undefined;
    entries.push(entryOf(kind, start, wordAt(records, at + END)));
  }
  return tryAddVsyscall(entries) ? entries : undefined;
}

/** What is said of a mapping but for its addresses, and by what. */
interface Kind extends Omit<SmapsEntry, 'start' | 'end' | 'kind'> {
  readonly low: number;
  readonly high: number;
  /** It holds for others with these flags. */
  readonly isPlain: boolean;
}

function isOfKind(kind: Kind | undefined, low: number, high: number): kind is Kind {
  return kind?.isPlain === true && kind.low === low && kind.high === high;
}

/** Those of huge pages have a flag that only smaps explains, and so have those with a key. */
const PAGE_KB = 4;
const NO_FACTS: MappingFacts = { offset: 0, major: 0, minor: 0, inode: 0, name: '' };

function tryMakeKind(facts: MappingFacts | undefined, low: number, high: number): Kind | undefined {
  const vmFlags = flagsOf(low, high);
  if (vmFlags === undefined) return undefined;
  const { offset, major, minor, inode, name } = facts ?? NO_FACTS;
  return {
    prot: low & PROT_BITS,
    isShared: (low & MAYSHARE) !== 0,
    offset,
    device: { major, minor },
    inode,
    ...withoutMark(name),
    kernelPageSizeKb: PAGE_KB,
    protectionKey: 0,
    vmFlags,
    low,
    high,
    isPlain: facts === undefined,
  };
}

function entryOf(kind: Kind, start: number, end: number): SmapsEntry {
  const { prot, isShared, offset, device, inode, path, rawPath, isDeleted } = kind;
  const { kernelPageSizeKb, protectionKey, vmFlags } = kind;
  return {
    start,
    end,
    prot,
    isShared,
    offset,
    device,
    inode,
    path,
    rawPath,
    isDeleted,
    kernelPageSizeKb,
    protectionKey,
    vmFlags,
    kind,
  };
}

/** The page that maps shows in all tasks of 64 bits, but which is no mapping of their own. */
const vsyscall = perRun((): MapsEntry | undefined => {
  const maps = readFile('/proc/self/maps');
  const [last] = parseMaps(maps.slice(maps.lastIndexOf('\n', maps.length - 2) + 1));
  return last?.path === '[vsyscall]' ? last : undefined;
});

/** False when it is not clear whether the task has it: one of 32 bits has nothing above that. */
function tryAddVsyscall(entries: SmapsEntry[]): boolean {
  const page = vsyscall();
  if (page === undefined) return true;
  if ((entries.at(-1)?.end ?? 0) <= WORD) return false;
  const kind = tryMakeKind({ ...NO_FACTS, name: page.path }, page.prot, 0);
  if (kind !== undefined) entries.push(entryOf(kind, page.start, page.end));
  return kind !== undefined;
}
