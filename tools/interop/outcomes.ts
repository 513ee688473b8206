/** Reads the results of `bun test`, and compares those of several runs in a table. */

export interface Outcome {
  readonly state: 'pass' | 'fail' | 'skip';
  /** Why it failed or was skipped. */
  readonly why: string;
}

export interface Column {
  readonly label: string;
  readonly outcomes: ReadonlyMap<string, Outcome>;
}

/** What each test came to. `stderr` has the results, each after what the test said; `stdout` has late skips. */
export function parseOutcomes(stderr: string, stdout: string): Map<string, Outcome> {
  const outcomes = new Map<string, Outcome>();
  let said: string[] = [];
  for (const line of stderr.split('\n')) {
    const [, state, name] = /^\((pass|fail|skip)\) (.*?)(?: \[[\d.]+m?s\])?$/.exec(line) ?? [];
    if (state === undefined || name === undefined) {
      said.push(line);
      continue;
    }
    // At the end of a long run failures are listed once more, without what was said.
    if (!outcomes.has(name)) {
      outcomes.set(name, { state: state as Outcome['state'], why: state === 'fail' ? reason(said) : '' });
    }
    said = [];
  }
  for (const [, name = '', why = ''] of stdout.matchAll(/^skipped: (.*?): (.*)$/gm)) {
    if (outcomes.has(name)) outcomes.set(name, { state: 'skip', why });
  }
  return outcomes;
}

/** What CRIU calls an error without CAP_SYS_RESOURCE; it goes on all the same. */
const HARMLESS = /Can't setup RLIMIT_NOFILE/;

/** The line that tells most: what criu said, else what the test said. */
function reason(said: readonly string[]): string {
  const error = said.findIndex((line) => line.startsWith('error: '));
  const lines = said.slice(Math.max(error, 0));
  const errors = lines.filter((line) => /\bError +\(/.test(line) && !HARMLESS.test(line));
  const fromLog = errors.find((line) => !/FAILED\./.test(line)) ?? errors[0];
  const first = lines[0]?.replace(/^error: /, '') ?? '';
  const isPicture = first.endsWith('/proc shows differences:');
  return (fromLog ?? (isPicture ? `${first} ${lines[1] ?? ''}` : first)).replace(/^\([\d.]+\) +/, '').trim();
}

/** Whether a failure of a test is ours: the other criu can do it alone. */
export function isOurs(test: string, columns: readonly Column[]): boolean {
  const states = columns.map(({ outcomes }) => outcomes.get(test)?.state);
  return states.at(-1) === 'pass' && states.includes('fail');
}

/** One line a test, then the reasons of all failures, then the sums. The last column is the other criu alone. */
export function formatMatrix(columns: readonly Column[]): string {
  const tests = [...new Set(columns.flatMap(({ outcomes }) => [...outcomes.keys()]))];
  const width = Math.max(...tests.map((test) => test.length), 0);
  const row = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(columns[i]?.label.length ?? 0))
      .join('  ')
      .trimEnd();
  const state = (test: string) => columns.map(({ outcomes }) => outcomes.get(test)?.state ?? '-');
  const count = (wanted: string) =>
    columns.map(({ outcomes }) => String([...outcomes.values()].filter((outcome) => outcome.state === wanted).length));
  const reasons = tests.flatMap((test) =>
    columns
      .flatMap(({ label, outcomes }) => {
        const outcome = outcomes.get(test);
        return outcome === undefined || outcome.why === '' ? [] : [`  ${label}, ${outcome.state}: ${outcome.why}`];
      })
      .map((line, i) => (i === 0 ? `${test}\n${line}` : line)),
  );
  return [
    `${''.padEnd(width)}  ${row(columns.map(({ label }) => label))}`,
    ...tests.map((test) => `${test.padEnd(width)}  ${row(state(test))}${isOurs(test, columns) ? '  <' : ''}`),
    '',
    ...reasons,
    '',
    ...['pass', 'fail', 'skip'].map((wanted) => `${wanted.padEnd(width)}  ${row(count(wanted))}`),
  ].join('\n');
}
