/** The program for `criu --version` and nothing else on the command line. */
import { versionText } from '../commands/version.ts';

export function run(): number {
  // biome-ignore lint/suspicious/noConsole: the quickest way to stdout, and the text is ASCII.
  console.log(versionText());
  return 0;
}
