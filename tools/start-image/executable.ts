/** An executable with a launcher: its old content, the launcher's page, its data, the program headers, whole pages. */

import { OP_ARGS, OP_BYTES } from '../../src/agent/agent-code.ts';
import type { Program } from '../../src/agent/program.ts';
import { assert } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/image/pagemap.ts';
import { PF_R, PF_W, PF_X } from '../../src/linux/abi/elf.ts';
import { CODE_AT, DATA_AT, DATA_END } from '../../src/start/layout.ts';
import { programHeadersWith, readExecutable, redirect } from './elf.ts';
import { type Choice, type LauncherPlan, launcherPage, PROGRAM_AT } from './launcher.ts';
import { COMMANDS, type StartPrograms } from './plan-start.ts';

const paged = (bytes: number) => Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;

/** Without `programs` it only starts plainly. */
export function withLauncher(
  original: Uint8Array,
  plan: Pick<LauncherPlan, 'mode' | 'needs' | 'resume'>,
  programs?: StartPrograms,
): Uint8Array {
  const view = new DataView(original.buffer, original.byteOffset);
  const { data, choices } = launcherData(programs);
  const page = launcherPage({ ...plan, ...readExecutable(view), choices });
  const codeAt = paged(original.length);
  const dataAt = codeAt + PAGE_BYTES;
  const headersAt = dataAt + data.length;
  const headers = programHeadersWith(view, [
    { flags: PF_R | PF_X, offset: codeAt, address: CODE_AT, bytes: PAGE_BYTES },
    { flags: PF_R | PF_W, offset: dataAt, address: DATA_AT, bytes: data.length },
  ]);
  const file = new Uint8Array(paged(headersAt + headers.length));
  file.set(original);
  file.set(page, codeAt);
  file.set(data, dataAt);
  file.set(headers, headersAt);
  redirect(new DataView(file.buffer), CODE_AT, headersAt, headers.length);
  return file;
}

/** The programs one behind the other, and what the launcher has to know of them. */
function launcherData(programs?: StartPrograms): { data: Uint8Array; choices: readonly Choice[] } {
  if (programs === undefined) return { data: new Uint8Array(PAGE_BYTES), choices: [] };
  const { memory, hotPages, rest } = programs;
  let at = PROGRAM_AT;
  const place = (program: Program, next?: number) => {
    if (next !== undefined) program.jump(next);
    const block = { address: at, bytes: program.assemble(at) };
    at += program.byteLength;
    return block;
  };
  // The last op of `memory` is a jump, which the launcher changes.
  const restAt = PROGRAM_AT + memory.byteLength + OP_BYTES;
  const blocks = [place(memory, restAt), place(rest)];
  const nextAt = PROGRAM_AT + memory.opBytes - OP_BYTES + OP_ARGS;
  const choices: Choice[] = [];
  for (const command of COMMANDS) {
    const both = hotPages[command];
    if (both === undefined) continue;
    const [cheap, dear] = [place(both.cheap, restAt), place(both.dear, restAt)];
    blocks.push(cheap, dear);
    choices.push({ command, at: nextAt, value: cheap.address, dearValue: dear.address });
  }
  assert(at <= DATA_END, 'the programs end before the runtime begins');
  const data = new Uint8Array(paged(at - DATA_AT));
  for (const { address, bytes } of blocks) data.set(bytes, address - DATA_AT);
  return { data, choices };
}
