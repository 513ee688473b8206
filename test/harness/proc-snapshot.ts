/**
 * A picture of all that /proc tells about a tree of tasks, as flat text keyed by "PID/what". Taken before a dump and
 * after the restore, the two are to be the same: that is what "nothing was lost" means from outside.
 *
 * Left out is what changes by itself (times, counters, the state letter of a task that naps) and numbers that the
 * kernel gives out anew (inode numbers of pipes and shared memory): those are renumbered in the order of their
 * appearance, so that who shares what is still compared.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export type ProcSnapshot = ReadonlyMap<string, string>;

/** /proc/PID/status lines that say what a task is, not how it is doing. */
const statusFields = new Set(
  (
    'Name Umask Tgid Pid PPid TracerPid Uid Gid Groups NStgid NSpid NSpgid NSsid Threads SigPnd ShdPnd SigBlk SigIgn ' +
    'SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters Speculation_Store_Bypass ' +
    'SpeculationIndirectBranch Cpus_allowed Mems_allowed THP_enabled VmLck x86_Thread_features ' +
    'x86_Thread_features_locked'
  ).split(' '),
);

/** Fields of /proc/PID/stat by their number in proc_pid_stat(5). */
const statFields: Readonly<Record<string, number>> = {
  pgrp: 5,
  session: 6,
  tty_nr: 7,
  tpgid: 8,
  priority: 18,
  nice: 19,
  rsslim: 25,
  startcode: 26,
  endcode: 27,
  startstack: 28,
  rt_priority: 40,
  policy: 41,
  start_data: 45,
  end_data: 46,
  start_brk: 47,
  arg_start: 48,
  arg_end: 49,
  env_start: 50,
  env_end: 51,
};

const wholeFiles = [
  'limits',
  'cmdline',
  'environ',
  'auxv',
  'personality',
  'oom_score_adj',
  'loginuid',
  'coredump_filter',
  'timerslack_ns',
];
const links = ['exe', 'cwd', 'root'];

/** Flags of VmFlags that no program can notice: soft-dirty, and whether a page of it was ever accounted. */
const volatileVmFlags = new Set(['sd', 'ac']);

/** A restored task lives in a time namespace of its own: that is how its clocks go on. */
const alwaysIgnored = [/\/ns\/time(_for_children)?$/];

/** Reads the picture of the given processes, in the given order. */
export function readProcSnapshot(pids: readonly number[]): ProcSnapshot {
  const picture = new Map<string, string>();
  const numbering = new Renumbering();
  for (const pid of pids) readProcess(picture, pid, numbering);
  return picture;
}

/** What differs, one line each; keys matched by `ignore` are left out. */
export function compareSnapshots(before: ProcSnapshot, after: ProcSnapshot, ignore: readonly RegExp[]): string[] {
  const keys = [...new Set([...before.keys(), ...after.keys()])];
  const differing = keys.filter((key) => before.get(key) !== after.get(key));
  const comeOrGone = differing.filter((key) => key.endsWith('/exists')).map((key) => key.slice(0, -'exists'.length));
  const patterns = [...alwaysIgnored, ...ignore];
  return differing
    .filter((key) => !patterns.some((pattern) => pattern.test(key)))
    .filter((key) => key.endsWith('/exists') || !comeOrGone.some((prefix) => key.startsWith(prefix)))
    .map((key) => `${key}: was ${show(before.get(key))}, is ${show(after.get(key))}`);
}

function show(value: string | undefined): string {
  return value === undefined ? 'not there' : JSON.stringify(value.slice(0, 400));
}

class Renumbering {
  readonly #seen = new Map<string, string>();

  rename(text: string): string {
    return text.replace(/^(pipe|socket):\[(\d+)\]$/, (_, kind: string, inode: string) => {
      const known = this.#seen.get(inode) ?? `#${this.#seen.size}`;
      this.#seen.set(inode, known);
      return `${kind}:[${known}]`;
    });
  }
}

function readProcess(picture: Map<string, string>, pid: number, numbering: Renumbering): void {
  const set = (key: string, value: string | undefined): void => {
    if (value !== undefined) picture.set(`${pid}/${key}`, value);
  };
  if (tryRead(`/proc/${pid}/stat`) !== undefined) set('exists', 'yes');
  const state = parseStatus(tryRead(`/proc/${pid}/status`) ?? '').get('State')?.[0];
  set('state', state !== undefined && 'TtZ'.includes(state) ? state : 'running or sleeping');
  for (const name of wholeFiles) set(name, tryRead(`/proc/${pid}/${name}`));
  // In the root of a hierarchy is everybody; somebody else may mount one, or unmount it, meanwhile.
  set('cgroup', tryRead(`/proc/${pid}/cgroup`)?.replace(/^.*:\/\n/gm, ''));
  for (const name of links) set(name, tryLink(`/proc/${pid}/${name}`));
  for (const name of tryList(`/proc/${pid}/ns`)) set(`ns/${name}`, tryLink(`/proc/${pid}/ns/${name}`));
  const stat = tryRead(`/proc/${pid}/stat`) ?? '';
  const values = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  for (const [name, number] of Object.entries(statFields)) set(`stat/${name}`, values[number - 3]);
  readMappings(set, pid);
  readDescriptors(set, pid, numbering);
  set('timers', tryRead(`/proc/${pid}/timers`)?.replace(/^signal: (\d+)\/.*$/gm, 'signal: $1'));
  for (const tid of tryList(`/proc/${pid}/task`)) readThread(set, pid, tid);
}

function readThread(set: (key: string, value: string | undefined) => void, pid: number, tid: string): void {
  const status = parseStatus(tryRead(`/proc/${pid}/task/${tid}/status`) ?? '');
  set(`task/${tid}/exists`, 'yes');
  for (const [name, value] of status) if (statusFields.has(name)) set(`task/${tid}/status/${name}`, value);
  const stat = tryRead(`/proc/${pid}/task/${tid}/stat`) ?? '';
  const values = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  for (const name of ['priority', 'nice', 'rt_priority', 'policy']) {
    set(`task/${tid}/stat/${name}`, values[(statFields[name] ?? 0) - 3]);
  }
  set(`task/${tid}/timerslack_ns`, tryRead(`/proc/${tid}/timerslack_ns`));
}

function parseStatus(text: string): Map<string, string> {
  return new Map(
    text
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()] as const),
  );
}

interface Mapping {
  readonly start: number;
  end: number;
  readonly offset: number;
  /** Protection, file and flags: what must be equal for two neighbours to count as one mapping. */
  readonly kind: string;
  readonly hasFile: boolean;
}

/**
 * One key per mapping, with its protection, place in the file, name and flags. Neighbours that differ in nothing are
 * one here: whether the kernel merges them depends on the order of the calls, and no program can tell.
 */
function readMappings(set: (key: string, value: string | undefined) => void, pid: number): void {
  const mappings: Mapping[] = [];
  let header: RegExpExecArray | null = null;
  for (const line of (tryRead(`/proc/${pid}/smaps`) ?? '').split('\n')) {
    const start = /^([0-9a-f]+)-([0-9a-f]+) (....) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+)\s*(.*)$/.exec(line);
    if (start !== null) header = start;
    if (header !== null && line.startsWith('VmFlags:')) addMapping(mappings, toMapping(header, line));
  }
  for (const { start, end, offset, kind } of mappings) {
    set(`vma/${start.toString(16)}-${end.toString(16)}`, `${kind} @${offset.toString(16)}`);
  }
}

function toMapping(header: RegExpExecArray, flagsLine: string): Mapping {
  const [, start = '', end = '', protection = '', offset = '', device = '', inode = '', name = ''] = header;
  // Shared anonymous memory is a file without a name; restored from a memfd it has one more prefix.
  const known = name.replace(/^\/memfd:(\/dev\/zero|\/anon_hugepage) /, '$1 ');
  const place = name.endsWith(' (deleted)') || name.startsWith('anon_inode:') ? '' : `${device} ${inode} `;
  const flags = flagsLine.slice(8).trim().split(' ');
  const lasting = flags.filter((flag) => !volatileVmFlags.has(flag)).join(' ');
  const kind = `${protection} ${place}${known} [${lasting}]`;
  return {
    start: parseInt(start, 16),
    end: parseInt(end, 16),
    offset: parseInt(offset, 16),
    kind,
    hasFile: inode !== '0',
  };
}

function addMapping(mappings: Mapping[], next: Mapping): void {
  const last = mappings.at(-1);
  const isOne = last?.end === next.start && last.kind === next.kind;
  if (isOne && (!next.hasFile || last.offset + (last.end - last.start) === next.offset)) last.end = next.end;
  else mappings.push(next);
}

/** Where each descriptor points, and its fdinfo without inode numbers and running times. */
function readDescriptors(
  set: (key: string, value: string | undefined) => void,
  pid: number,
  numbering: Renumbering,
): void {
  for (const fd of tryList(`/proc/${pid}/fd`)) {
    const target = tryLink(`/proc/${pid}/fd/${fd}`);
    set(`fd/${fd}`, target === undefined ? undefined : numbering.rename(target));
    const info = tryRead(`/proc/${pid}/fdinfo/${fd}`) ?? '';
    const lines = info.split('\n').filter((line) => !/^(ino|it_value|ticks|eventfd-id|fdinfo|scm_fds):/.test(line));
    set(`fdinfo/${fd}`, lines.map((line) => line.replace(/ (ino|pos|sdev):[0-9a-f]+/g, '')).join('\n'));
  }
}

function tryRead(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

function tryLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function tryList(path: string): string[] {
  try {
    return readdirSync(path).sort((a, b) => Number(a) - Number(b));
  } catch {
    return [];
  }
}
