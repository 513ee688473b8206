/** An executable with a launcher: its old content, the launcher's page, its data, the program headers, whole pages. */
import type { Program } from '../../src/agent/program.ts';
import { CODE_AT, DATA_AT, HOT_PAGES_WORDS } from '../../src/start/layout.ts';
import { PAGE_BYTES } from './capture.ts';
import { PF, programHeadersWith, readExecutable, redirect } from './elf.ts';
import { type LauncherPlan, launcherPage, PROGRAM_AT } from './launcher.ts';

/** What the agent executes. */
export interface LauncherPrograms {
  /** Makes the process again. */
  readonly start: Program;
  /** By command, what the process executes then. */
  readonly hotPages: Partial<Record<keyof typeof HOT_PAGES_WORDS, Program>>;
}

const paged = (bytes: number) => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** Without `programs` it only starts plainly. */
export function withLauncher(
  original: Uint8Array,
  plan: Pick<LauncherPlan, 'mode' | 'needs' | 'resume'>,
  programs?: LauncherPrograms,
): Uint8Array {
  const view = new DataView(original.buffer, original.byteOffset);
  const page = launcherPage({ ...plan, ...readExecutable(view) });
  const data = launcherData(programs);
  const codeAt = paged(original.length);
  const dataAt = codeAt + PAGE_BYTES;
  const headersAt = dataAt + data.length;
  const headers = programHeadersWith(view, [
    { flags: PF.r | PF.x, offset: codeAt, address: CODE_AT, bytes: PAGE_BYTES },
    { flags: PF.r | PF.w, offset: dataAt, address: DATA_AT, bytes: data.length },
  ]);
  const file = new Uint8Array(paged(headersAt + headers.length));
  file.set(original);
  file.set(page, codeAt);
  file.set(data, dataAt);
  file.set(headers, headersAt);
  redirect(new DataView(file.buffer), CODE_AT, headersAt, headers.length);
  return file;
}

function launcherData(programs?: LauncherPrograms): Uint8Array {
  if (programs === undefined) return new Uint8Array(PAGE_BYTES);
  const { start, hotPages } = programs;
  const blocks = [start.assemble(PROGRAM_AT)];
  let at = PROGRAM_AT + start.byteLength;
  const words = new Map<number, number>();
  for (const command of ['dump', 'restore'] as const) {
    const program = hotPages[command];
    if (program === undefined) continue;
    words.set(HOT_PAGES_WORDS[command], at);
    blocks.push(program.assemble(at));
    at += program.byteLength;
  }
  const data = new Uint8Array(paged(at - DATA_AT));
  const view = new DataView(data.buffer);
  for (const [address, value] of words) view.setBigUint64(address - DATA_AT, BigInt(value), true);
  let to = PROGRAM_AT - DATA_AT;
  for (const block of blocks) {
    data.set(block, to);
    to += block.length;
  }
  return data;
}
