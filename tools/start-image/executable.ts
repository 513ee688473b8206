/** An executable with a launcher: its old content, the launcher's page, its data, the program headers, whole pages. */

import { CODE_AT, DATA_AT } from '../../src/start/layout.ts';
import { PF, programHeadersWith, readExecutable, redirect } from './elf.ts';
import { type LauncherPlan, launcherPage, PROGRAM_AT } from './launcher.ts';

const PAGE = 4096;
const paged = (bytes: number) => Math.ceil(bytes / PAGE) * PAGE;

/** `program`: the ops that the launcher's agent executes, assembled for PROGRAM_AT. */
export function withLauncher(
  original: Uint8Array,
  plan: Pick<LauncherPlan, 'mode' | 'needs' | 'resume'>,
  program: Uint8Array,
): Uint8Array {
  const view = new DataView(original.buffer, original.byteOffset);
  const page = launcherPage({ ...plan, ...readExecutable(view) });
  const codeAt = paged(original.length);
  const dataBytes = paged(PROGRAM_AT - DATA_AT + program.length);
  const dataAt = codeAt + PAGE;
  const headersAt = dataAt + dataBytes;
  const headers = programHeadersWith(view, [
    { flags: PF.r | PF.x, offset: codeAt, address: CODE_AT, bytes: PAGE },
    { flags: PF.r | PF.w, offset: dataAt, address: DATA_AT, bytes: dataBytes },
  ]);
  const file = new Uint8Array(paged(headersAt + headers.length));
  file.set(original);
  file.set(page, codeAt);
  file.set(program, dataAt + PROGRAM_AT - DATA_AT);
  file.set(headers, headersAt);
  redirect(new DataView(file.buffer), CODE_AT, headersAt, headers.length);
  return file;
}
