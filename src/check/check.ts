/** `criu check`: asks the running kernel, says what is missing and who needs it, and sums up in CRIU's words. */
import { errorText, SyscallError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { FeatureName } from '../options/feature-names.ts';
import type { Missing, Probe } from './probe.ts';

/** The first words are CRIU's: callers look for them. */
const GOOD = 'Looks good.';
const GOOD_BUT = 'Looks good but';
const BAD = 'Does not look good.';

/** A probe that the kernel refuses by an error has found it missing. */
export function ask(probe: Probe): Missing {
  try {
    return probe.run();
  } catch (error) {
    if (error instanceof SyscallError) return error.message;
    throw error;
  }
}

/** One feature by name; the exit status is 0 when the kernel has it. */
export async function checkFeature(name: FeatureName, log: Logger): Promise<number> {
  const { FEATURES } = await import('./features.ts');
  const probe = FEATURES[name];
  const missing = ask(probe);
  if (missing === undefined) {
    log.message(`${name} is supported`);
    return 0;
  }
  log.warn(`${name} is not supported: ${missing}; it is needed for: ${probe.neededFor}`);
  return 1;
}

/** Categories 1 to 3 of the manual; the exit status is 0 when all of what was asked is there. */
export async function checkKernel(wanted: { extra: boolean; experimental: boolean }, log: Logger): Promise<number> {
  const { REQUIRED, extraProbes, experimentalProbes } = await import('./categories.ts');
  const required = report(REQUIRED, log);
  if (required > 0) {
    log.warn(`${BAD} ${required} of the features that every dump needs are missing.`);
    return 1;
  }
  const optional = [...(wanted.extra ? extraProbes() : []), ...(wanted.experimental ? experimentalProbes() : [])];
  const missing = report(optional, log);
  if (missing === 0) {
    log.message(GOOD);
    return 0;
  }
  log.message(
    `${GOOD_BUT} ${missing} kernel ${missing === 1 ? 'feature is' : 'features are'} missing:\nwhat needs ${missing === 1 ? 'it' : 'them'} cannot be dumped or restored.`,
  );
  return 1;
}

/** Asks all; warns of what is missing. Returns how many are. */
function report(probes: readonly (Probe & { name: string })[], log: Logger): number {
  let count = 0;
  for (const probe of probes) {
    let missing: Missing;
    try {
      missing = ask(probe);
    } catch (error) {
      missing = errorText(error);
    }
    log.debug(`${probe.name}: ${missing ?? 'yes'}`);
    if (missing === undefined) continue;
    count++;
    log.warn(`${probe.name} is missing: ${missing}; it is needed for: ${probe.neededFor}`);
  }
  return count;
}
