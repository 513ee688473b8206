/** Gives an executable its start image: takes it of a process that has warmed up, and writes it behind the executable. */
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAKE_IMAGE } from '../../src/start/layout.ts';
import type { SelfDescription } from '../../src/start/start-image.ts';
import { capture, planStart, resumeFrom } from './capture.ts';
import { withLauncher } from './executable.ts';

const NOTHING = new Uint8Array(0);

/**
 * Options of the runtime that an image is taken with, and that hold in each process from it: no thread that makes memory
 * ready in advance (it would have to be made again at each start).
 */
const RUNTIME_OPTIONS = { BUN_JSC_useWarmUpMarkedBlocks: '0', BUN_JSC_useFTLJIT: '0' };

/** `executable` is replaced by one with an image. Throws when none can be taken. */
export async function addStartImage(executable: string): Promise<void> {
  const original = new Uint8Array(readFileSync(executable));
  const folder = mkdtempSync(join(tmpdir(), 'criu-start-image-'));
  const recorder = join(folder, 'criu');
  await Bun.write(recorder, withLauncher(original, { mode: 'record', needs: [], resume: NOTHING }, NOTHING));
  chmodSync(recorder, 0o755);
  const child = Bun.spawn([recorder, MAKE_IMAGE, folder], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...RUNTIME_OPTIONS, ...process.env },
  });
  try {
    const description = await readLine(child.stdout);
    while (!/^State:\tT/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8'))) await Bun.sleep(1);
    const taken = capture(child.pid, recorder, JSON.parse(description) as SelfDescription);
    const plan = { mode: 'image' as const, needs: [], resume: resumeFrom(taken.registers) };
    const { length } = withLauncher(original, plan, planStart(taken, recorder, 0));
    const file = withLauncher(original, plan, planStart(taken, recorder, length));
    rmSync(executable);
    const fd = openSync(executable, 'wx', 0o755);
    writeSync(fd, file);
    for (const run of taken.runs) writeSync(fd, taken.read(run));
    closeSync(fd);
  } finally {
    child.kill('SIGKILL');
    await child.exited;
    rmSync(folder, { recursive: true });
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
  throw new Error(`no start image: the process ended${text === '' ? '' : `, and said: ${text}`}`);
}
