/**
 * The program `criu`. Nothing is imported before it is known that it is needed: whoever only asks for the version
 * (runtimes do, before each operation) pays for nothing else.
 */

if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  const { versionText } = await import('./commands/version.ts');
  // biome-ignore lint/suspicious/noConsole: the quickest way to stdout, and the text is ASCII.
  console.log(versionText());
} else {
  const { runCriu } = await import('./run-criu.ts');
  process.exitCode = await runCriu();
}
// A command may leave timers or descriptors that keep the runtime alive; the exit status is final.
process.exit();

export {};
