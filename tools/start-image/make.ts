/** Gives an executable its start image: takes it of a process that has warmed up, and writes it behind the executable. */
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.ts';
import { PROT_WRITE } from '../../src/linux/abi/mman.ts';
import { SIGKILL } from '../../src/linux/abi/signal.ts';

import { kill, tryWait } from '../../src/linux/syscalls/process.ts';
import type { MapsEntry } from '../../src/proc/maps.ts';
import { HUGE_PAGE_BYTES, MAKE_IMAGE } from '../../src/start/layout.ts';
import { spawnProgram } from '../../src/start/ordinary-program.ts';
import { OwnRequest, type Wanted } from '../../src/start/own-request.ts';
import type { SelfDescription } from '../../src/start/start-image.ts';
import { addOneOfEach } from '../../src/start/tree-parts.ts';
import { spawnIdle } from '../../src/tracee/idle.ts';
import { type Capture, capture } from './capture.ts';
import { readCpuNeeds } from './cpu-needs.ts';
import { withLauncher } from './executable.ts';
import { findTouchedPages, type HotPages, hotPages, type Range, type Touched } from './hot-pages.ts';
import { type Command, planStart, resumeFrom } from './plan-start.ts';

const NOTHING = new Uint8Array(0);

/**
 * Options of the runtime that an image is taken with, and that hold in each process from it: no thread that makes memory
 * ready in advance (it would have to be made again at each start); no garbage collection before so many bytes, for it touches
 * all memory; and code that has not run for a while stays, which the collection at the end of the warm-up would throw away.
 *
 * What has run some times is compiled, by the first compiler and by the second, whose code is a third of the size and writes
 * nothing about itself; the third one's takes longer to make. Code of the second that was made for types or shapes of
 * objects which do not come any more is given up and made anew at the second time instead of the hundredth.
 *
 * Compilers run when it is time for them, not beside: so each build has the same code, whatever else the machine does.
 *
 * And nothing is left to the dynamic linker: it saves as much of the registers as the processor had on which it started
 * (sysdeps/x86_64/dl-trampoline.h in glibc), so on one with more of them it would write behind the end of its room.
 */
const RUNTIME_OPTIONS = {
  BUN_JSC_useWarmUpMarkedBlocks: '0',
  BUN_JSC_largeHeapSize: String(256 << 20),
  BUN_JSC_forceCodeBlockLiveness: '1',
  BUN_JSC_useFTLJIT: '0',
  BUN_JSC_useConcurrentJIT: '0',
  BUN_JSC_maxPolymorphicCallVariantListSize: '1',
  BUN_JSC_thresholdForJITAfterWarmUp: '50',
  BUN_JSC_thresholdForJITSoon: '20',
  BUN_JSC_thresholdForOptimizeAfterWarmUp: '20',
  BUN_JSC_thresholdForOptimizeAfterLongWarmUp: '20',
  BUN_JSC_thresholdForOptimizeSoon: '20',
  BUN_JSC_osrExitCountForReoptimization: '2',
  BUN_JSC_osrExitCountForReoptimizationFromLoop: '2',
  LD_BIND_NOW: '1',
};

/** After so long a recorder has come to nothing; it takes half a minute. */
const RECORDER_MS = 10 * 60_000;

/** `executable` is replaced by one with an image. Throws when none can be taken. */
export async function addStartImage(executable: string): Promise<void> {
  const original = new Uint8Array(readFileSync(executable));
  const folder = mkdtempSync(join(tmpdir(), 'criu-start-image-'));
  const recorder = join(folder, 'criu');
  await Bun.write(recorder, withLauncher(original, { mode: 'record', needs: [], resume: NOTHING }));
  chmodSync(recorder, 0o755);
  const child = Bun.spawn([recorder, MAKE_IMAGE, folder], {
    cwd: '/',
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
    // Nothing of ours: what is in the memory of this process is in the file that people get.
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...RUNTIME_OPTIONS },
    timeout: RECORDER_MS,
    killSignal: 'SIGKILL',
  });
  try {
    const description = await readLine(child.stdout);
    while (!isStopped(child.pid)) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error('the process ended before it stopped');
      await Bun.sleep(1);
    }
    const taken = capture(child.pid, recorder, JSON.parse(description) as SelfDescription);
    writeExecutable(executable, original, taken, {});
    writeExecutable(executable, original, taken, findHotPages(executable, taken, folder));
  } finally {
    child.kill('SIGKILL');
    await child.exited;
    rmSync(folder, { recursive: true });
  }
}

/** False of a process that has ended and is not reaped yet; throws when there is none. */
const isStopped = (pid: number) => /^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

/** By command, what it touches. */
type HotPagesOf = Partial<Record<Command, HotPages>>;

function writeExecutable(path: string, original: Uint8Array, taken: Capture, hot: HotPagesOf): void {
  const plan = { mode: 'image' as const, needs: readCpuNeeds(), resume: resumeFrom(taken.registers) };
  // How long it is does not depend on where the content will be.
  const { length } = withLauncher(original, plan, planStart(taken, 0, hot));
  // Compiled code comes first.
  const contentAt = length + distanceToLike(length, taken.runs[0]?.address ?? 0);
  const file = withLauncher(original, plan, planStart(taken, contentAt, hot));
  // Not into the file that is there: somebody may be executing it.
  rmSync(path);
  const fd = openSync(path, 'wx', 0o755);
  writeSync(fd, file);
  writeSync(fd, new Uint8Array(contentAt - length));
  // In one piece, zeros included: pages of a file with holes lie in small pieces in memory, and a dump takes 3 ms longer.
  writeSync(fd, taken.content);
  closeSync(fd);
}

/** How many bytes further on a place of the file is as far from the beginning of a huge page as an address. */
const distanceToLike = (place: number, address: number) =>
  (((address - place) % HUGE_PAGE_BYTES) + HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;

/** Dumps and restores a process, and looks which pages that takes. Where this can't be done, none are known. */
function findHotPages(executable: string, taken: Capture, folder: string): HotPagesOf {
  const images = join(folder, 'images');
  mkdirSync(images);
  const anywhere = ['-D', images, '-o', 'log'];
  const writable = taken.areas.filter(({ prot }) => (prot & PROT_WRITE) !== 0);
  const watched = [...taken.runs, ...[...writable, ...taken.own].map(rangeOf)];
  const find = (...words: string[]) => findTouchedPages([executable, ...words, ...anywhere], watched);
  const findRequest = (wanted: Wanted) => {
    using request = new OwnRequest(images, wanted);
    return findTouchedPages([executable, 'swrk', '3'], watched, request.fd);
  };
  const commands = tryFind('each run', folder, (pid) => ({
    dumps: [find('dump', '-R', '-t', String(pid)), find('dump', '-t', String(pid))],
    restore: () => find('restore', '-d'),
  }));
  const requests = tryFind('each request', folder, (pid) => ({
    dumps: [findRequest({ pid, leave_running: true }), findRequest({ pid })],
    restore: () => findRequest({}),
  }));
  return {
    ...(commands && {
      dump: hotPages(commands.map(({ dumps }) => dumps)),
      restore: hotPages(commands.map(({ restored }) => [restored])),
    }),
    ...(requests && { swrk: hotPages(requests.map(({ dumps, restored }) => [...dumps, restored])) }),
  };
}

/** Kinds of processes. */
const kindsOfTargets = (folder: string): readonly (() => number)[] => [
  () => spawnIdle(),
  () => spawnProgram(['/bin/sleep', 'infinity']),
  () => spawnIdle((program) => addOneOfEach(program, folder)),
];

type Runs = ReturnType<typeof withTarget>;

/** Undefined when it can't be done. */
function tryFind(what: string, folder: string, dump: Parameters<typeof withTarget>[1]): readonly Runs[] | undefined {
  const found: Runs[] = [];
  for (const target of kindsOfTargets(folder)) {
    try {
      found.push(withTarget(target, dump));
    } catch (error) {
      console.warn(`the pages that ${what} needs are not known: ${errorText(error)}`);
    }
  }
  return found.length === 0 ? undefined : found;
}

/** Has a process dumped, and restored when it is gone. */
function withTarget(start: () => number, dump: (pid: number) => { dumps: Touched[]; restore: () => Touched }) {
  const pid = start();
  const executable = readlinkSync(`/proc/${pid}/exe`);
  try {
    const { dumps, restore } = dump(pid);
    tryWait(pid);
    return { dumps, restored: restore() };
  } finally {
    // After the restore it is no child of ours, so its number may be that of somebody else.
    if (isProgram(pid, executable)) kill(pid, SIGKILL);
  }
}

const rangeOf = ({ start, end }: MapsEntry): Range => ({ address: start, bytes: end - start });

function isProgram(pid: number, executable: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`) === executable;
  } catch {
    return false;
  }
}

/** Throws when the stream ends before. */
async function readLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of stream) {
    text += decoder.decode(piece, { stream: true });
    const end = text.indexOf('\n');
    if (end >= 0) return text.slice(0, end);
  }
  throw new Error(`the process ended${text === '' ? '' : `, and said: ${text}`}`);
}
