/** The word behind `name` on the command line of a script, or undefined. */
export function scriptOption(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}
