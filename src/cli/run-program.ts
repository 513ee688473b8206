/**
 * Which program of criu a command line is for. Nothing is loaded before it is known, so it is told by the words alone: the
 * programs for frequent commands look at them again, and leave what is not theirs to the one for everything.
 */
import { invocation } from '../base/invocation.ts';

export type ProgramName = 'crit' | 'dump' | 'filler' | 'others' | 'restore' | 'version';

export interface Program {
  /** The exit status; undefined, and nothing is done, when the command line asks for something else. */
  run(): number | undefined | Promise<number | undefined>;
}

/** How each is loaded, which is not the same for each way to start (main.ts, programs/imaged.ts). */
export type Programs = Readonly<Record<ProgramName, () => Program | Promise<Program>>>;

/** `words`: the command line, the program's name first. */
export function programFor(words: readonly string[]): ProgramName {
  const name = words[0] ?? '';
  const first = words[1];
  if (isCritName(name) || first === 'crit') return 'crit';
  // Runtimes ask for it before each operation, so it pays for nothing else.
  if (words.length === 2 && (first === '--version' || first === '-V')) return 'version';
  // FILL_COMMAND, by which a restore starts criu once more (pages/filler-link.ts).
  if (first === 'fill-memory') return 'filler';
  if (words.includes('dump')) return 'dump';
  return words.includes('restore') ? 'restore' : 'others';
}

/** criu is the image tool when it is called so, by a link or a copy of the file. */
export const isCritName = (name: string): boolean => name === 'crit' || name.endsWith('/crit');

/** Runs what this invocation of criu asks for; returns the exit status. */
export async function runProgram(programs: Programs): Promise<number> {
  const program = await programs[programFor(invocation().words)]();
  const status = (await program.run()) ?? (await (await programs.others()).run());
  return status ?? 1;
}
