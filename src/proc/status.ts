/**
 * /proc/PID/status: identity, credentials, signals and counters of a task, man 5 proc_pid_status; fs/proc/array.c.
 *
 * Fields only grow, so they are found by key and unknown ones are ignored. A zombie and a kernel thread have no Vm
 * lines, a kernel thread may lack Umask.
 */
import { type Field, malformed, parseKeyedLines, toHexBigint, toInteger, toIntegers, toOctal, words } from './text.ts';

/** Real, effective, saved and file system id, as the reader's user namespace sees them. */
export type Ids = readonly [real: number, effective: number, saved: number, fs: number];

/** Memory counters in kB of 1024 bytes. */
export interface StatusMemory {
  readonly peakKb: number;
  readonly sizeKb: number;
  readonly lockedKb: number;
  readonly pinnedKb: number;
  readonly peakRssKb: number;
  readonly rssKb: number;
  readonly rssAnonKb: number;
  readonly rssFileKb: number;
  readonly rssShmemKb: number;
  readonly dataKb: number;
  readonly stackKb: number;
  readonly exeKb: number;
  readonly libKb: number;
  /** Page tables. */
  readonly pteKb: number;
  readonly swapKb: number;
  readonly hugetlbKb: number;
}

/** /proc/PID/status; `undefined` where the kernel printed no such line. */
export interface Status {
  /** comm, with the kernel's `\n` and `\\` undone. */
  readonly name: string;
  readonly umask: number | undefined;
  /** One letter: R, S, D, T, t, Z, X, I, P. */
  readonly state: string;
  readonly tgid: number;
  readonly ngid: number;
  readonly pid: number;
  readonly ppid: number;
  /** 0 when nobody traces the task, or the tracer is not visible. */
  readonly tracerPid: number;
  readonly uid: Ids;
  readonly gid: Ids;
  readonly fdSize: number;
  readonly groups: readonly number[];
  /** Ids in the pid namespaces from the reader's down to the task's own. */
  readonly nsTgid: readonly number[];
  readonly nsPid: readonly number[];
  readonly nsPgid: readonly number[];
  readonly nsSid: readonly number[];
  /** Known since 6.8; false before. */
  readonly isKernelThread: boolean;
  /** `undefined` for tasks without memory: zombies and kernel threads. */
  readonly memory: StatusMemory | undefined;
  readonly isCoreDumping: boolean;
  /** False after PR_SET_THP_DISABLE. `undefined` before 5.0. */
  readonly isThpEnabled: boolean | undefined;
  readonly threads: number;
  /** Queued signals of this user, and the limit of that. */
  readonly queuedSignals: number;
  readonly queuedSignalsMax: number;
  /** Masks: bit n-1 is signal n. */
  readonly sigPnd: bigint;
  readonly shdPnd: bigint;
  readonly sigBlk: bigint;
  readonly sigIgn: bigint;
  readonly sigCgt: bigint;
  /** Masks: bit n is capability n. */
  readonly capInh: bigint;
  readonly capPrm: bigint;
  readonly capEff: bigint;
  readonly capBnd: bigint;
  readonly capAmb: bigint;
  readonly hasNoNewPrivs: boolean;
  /** SECCOMP_MODE_*. */
  readonly seccomp: number;
  readonly seccompFilters: number | undefined;
  /** Mask as the kernel prints it: groups of 8 hexadecimal digits with commas between, highest first. */
  readonly cpusAllowed: string;
  /** Features of x86 threads that are on and locked: `shstk`, `wrss`. */
  readonly threadFeatures: readonly string[];
  readonly threadFeaturesLocked: readonly string[];
  readonly voluntaryCtxtSwitches: number | undefined;
  readonly nonvoluntaryCtxtSwitches: number | undefined;
}

/** Parses /proc/PID/status. Throws CriuError when a line is missing that every kernel since 4.10 prints. */
export function parseStatus(text: string, file = '/proc/PID/status'): Status {
  const fields = new StatusFields(text, file);
  return {
    ...parseIdentity(fields),
    ...parseSignals(fields),
    ...parseCapabilities(fields),
    memory: parseMemory(fields),
    isKernelThread: fields.integer('Kthread', 0) === 1,
    isCoreDumping: fields.integer('CoreDumping', 0) === 1,
    isThpEnabled: fields.has('THP_enabled') ? fields.integer('THP_enabled') === 1 : undefined,
    fdSize: fields.integer('FDSize'),
    threads: fields.integer('Threads'),
    hasNoNewPrivs: fields.integer('NoNewPrivs', 0) === 1,
    seccomp: fields.integer('Seccomp', 0),
    seccompFilters: fields.optionalInteger('Seccomp_filters'),
    cpusAllowed: fields.optional('Cpus_allowed')?.value ?? '',
    threadFeatures: words(fields.optional('x86_Thread_features')?.value ?? ''),
    threadFeaturesLocked: words(fields.optional('x86_Thread_features_locked')?.value ?? ''),
    voluntaryCtxtSwitches: fields.optionalInteger('voluntary_ctxt_switches'),
    nonvoluntaryCtxtSwitches: fields.optionalInteger('nonvoluntary_ctxt_switches'),
  };
}

/** Undoes string_escape_str() with ESCAPE_SPACE | ESCAPE_SPECIAL, which /proc uses for comm in status. */
export function unescapeComm(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(/\\(n|\\)/g, (_, char: string) => (char === 'n' ? '\n' : '\\'));
}

function parseIdentity(fields: StatusFields) {
  const state = fields.required('State');
  if (state.value === '') throw malformed(state.place, 'a state');
  const umask = fields.optional('Umask');
  const tgid = fields.integer('Tgid');
  const pid = fields.integer('Pid');
  return {
    name: fields.name(),
    umask: umask && toOctal(umask.value, umask.place, 'an octal number'),
    state: state.value.slice(0, 1),
    tgid,
    ngid: fields.integer('Ngid', 0),
    pid,
    ppid: fields.integer('PPid'),
    tracerPid: fields.integer('TracerPid'),
    uid: fields.ids('Uid'),
    gid: fields.ids('Gid'),
    groups: fields.integers('Groups'),
    // Without CONFIG_PID_NS there are no such lines, nor any namespaces.
    nsTgid: fields.has('NStgid') ? fields.integers('NStgid') : [tgid],
    nsPid: fields.has('NSpid') ? fields.integers('NSpid') : [pid],
    nsPgid: fields.has('NSpgid') ? fields.integers('NSpgid') : [],
    nsSid: fields.has('NSsid') ? fields.integers('NSsid') : [],
  };
}

function parseSignals(fields: StatusFields) {
  const queue = fields.required('SigQ');
  const slash = queue.value.indexOf('/');
  return {
    queuedSignals: toInteger(queue.value.slice(0, Math.max(slash, 0)), queue.place, 'queued signals/limit'),
    queuedSignalsMax: toQueueLimit(queue.value.slice(slash + 1), queue),
    sigPnd: fields.mask('SigPnd'),
    shdPnd: fields.mask('ShdPnd'),
    sigBlk: fields.mask('SigBlk'),
    sigIgn: fields.mask('SigIgn'),
    sigCgt: fields.mask('SigCgt'),
  };
}

/** Without a limit the kernel prints RLIM_INFINITY, which no exact number holds. */
function toQueueLimit(text: string, queue: Field): number {
  return text === '18446744073709551615' ? Infinity : toInteger(text, queue.place, 'queued signals/limit');
}

function parseCapabilities(fields: StatusFields) {
  return {
    capInh: fields.mask('CapInh'),
    capPrm: fields.mask('CapPrm'),
    capEff: fields.mask('CapEff'),
    capBnd: fields.mask('CapBnd'),
    capAmb: fields.mask('CapAmb'),
  };
}

function parseMemory(fields: StatusFields): StatusMemory | undefined {
  if (!fields.has('VmSize')) return undefined;
  return {
    peakKb: fields.kb('VmPeak'),
    sizeKb: fields.kb('VmSize'),
    lockedKb: fields.kb('VmLck'),
    pinnedKb: fields.kb('VmPin'),
    peakRssKb: fields.kb('VmHWM'),
    rssKb: fields.kb('VmRSS'),
    rssAnonKb: fields.kb('RssAnon'),
    rssFileKb: fields.kb('RssFile'),
    rssShmemKb: fields.kb('RssShmem'),
    dataKb: fields.kb('VmData'),
    stackKb: fields.kb('VmStk'),
    exeKb: fields.kb('VmExe'),
    libKb: fields.kb('VmLib'),
    pteKb: fields.kb('VmPTE'),
    swapKb: fields.kb('VmSwap'),
    hugetlbKb: fields.kb('HugetlbPages'),
  };
}

/** Typed access to the lines by key. */
class StatusFields {
  private readonly text: string;
  private readonly file: string;
  private readonly fields: ReadonlyMap<string, Field>;

  constructor(text: string, file: string) {
    this.text = text;
    this.file = file;
    this.fields = parseKeyedLines(text, file);
  }

  /** comm may start or end with blanks, so its line is taken as it is. */
  name(): string {
    const { place } = this.required('Name');
    return unescapeComm(place.text.slice('Name:\t'.length));
  }

  has(key: string): boolean {
    return this.fields.has(key);
  }

  optional(key: string): Field | undefined {
    return this.fields.get(key);
  }

  required(key: string): Field {
    const field = this.fields.get(key);
    if (field === undefined) throw malformed({ file: this.file, line: 0, text: this.text }, `a line "${key}:"`);
    return field;
  }

  integer(key: string, missing?: number): number {
    if (missing !== undefined && !this.has(key)) return missing;
    const { value, place } = this.required(key);
    return toInteger(value, place, 'a number');
  }

  optionalInteger(key: string): number | undefined {
    return this.has(key) ? this.integer(key) : undefined;
  }

  integers(key: string): readonly number[] {
    const { value, place } = this.required(key);
    return toIntegers(value, place, 'numbers');
  }

  ids(key: string): Ids {
    const [real, effective, saved, fs] = this.integers(key);
    if (real === undefined || effective === undefined || saved === undefined || fs === undefined) {
      throw malformed(this.required(key).place, 'four ids');
    }
    return [real, effective, saved, fs];
  }

  mask(key: string): bigint {
    const { value, place } = this.required(key);
    return toHexBigint(value, place, 'a hexadecimal mask');
  }

  kb(key: string): number {
    const field = this.optional(key);
    if (field === undefined) return 0;
    const [number = '', unit] = words(field.value);
    if (unit !== 'kB') throw malformed(field.place, 'a number of kB');
    return toInteger(number, field.place, 'a number of kB');
  }
}
