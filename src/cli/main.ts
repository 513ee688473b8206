/**
 * The programs `criu` and `crit`. Nothing is imported before it is known that it is needed: whoever only asks for the version
 * (runtimes do, before each operation) pays for nothing else.
 */

/** The program is the image tool when it is called so, by a link or a copy of the file. */
const isCrit = /(^|\/)crit$/.test(process.argv0);

if (!isCrit && process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  const { versionText } = await import('./commands/version.ts');
  // biome-ignore lint/suspicious/noConsole: the quickest way to stdout, and the text is ASCII.
  console.log(versionText());
} else if (isCrit || process.argv[2] === 'crit') {
  const { runCrit } = await import('./crit/run-crit.ts');
  process.exitCode = await runCrit(isCrit);
} else {
  const { runCriu } = await import('./run-criu.ts');
  process.exitCode = await runCriu();
}
// A command may leave timers or descriptors that keep the runtime alive; the exit status is final.
process.exit();

export {};
