/**
 * The programs `criu` and `crit`. Nothing is imported before it is known that it is needed: whoever only asks for the version
 * (runtimes do, before each operation) pays for nothing else.
 */

/** The program is the image tool when it is called so, by a link or a copy of the file. */
const isCrit = process.argv0 === 'crit' || process.argv0.endsWith('/crit');

if (process.argv[2] === 'make-start-image') {
  // MAKE_IMAGE; the way of a build, not of a user.
  process.exitCode = await (await import('./programs/imaged.ts')).run(process.argv[3] ?? '');
} else if (!isCrit && process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  const { versionText } = await import('./commands/version.ts');
  // biome-ignore lint/suspicious/noConsole: the quickest way to stdout, and the text is ASCII.
  console.log(versionText());
} else if (isCrit || process.argv[2] === 'crit') {
  const { runCrit } = await import('./crit/run-crit.ts');
  process.exitCode = await runCrit(isCrit);
} else if (process.argv[2] === 'fill-memory') {
  // FILL_COMMAND, by which a restore starts criu once more (pages/filler-link.ts).
  process.exitCode = (await import('./programs/filler.ts')).run(process.argv.slice(3));
} else {
  process.exitCode = await runCriu();
}

/** Tries the program of its own that a frequent command has; which command it really is only the parser knows. */
async function runCriu(): Promise<number> {
  let status: number | undefined;
  if (process.argv.includes('dump')) status = await (await import('./programs/dump.ts')).run();
  else if (process.argv.includes('restore')) status = await (await import('./programs/restore.ts')).run();
  return status ?? (await (await import('./programs/others.ts')).run());
}

// A command may leave timers or descriptors that keep the runtime alive; the exit status is final.
process.exit();

export {};
