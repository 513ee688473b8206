/** `criu check`: what the options ask is asked of the running kernel. */
import { checkFeature, checkKernel } from '../../check/check.ts';
import { FEATURE_NAMES, isFeatureName } from '../../options/feature-names.ts';
import type { CommandContext } from '../command-context.ts';

/** Returns the exit status: 0 all there, 1 something missing. */
export async function run({ options, log }: CommandContext): Promise<number> {
  const { checkFeature: name } = options;
  if (name === 'list') {
    log.message(FEATURE_NAMES.join('\n'));
    return 0;
  }
  if (name !== undefined && isFeatureName(name)) return await checkFeature(name, log);
  return await checkKernel({ extra: options.checkExtra, experimental: options.checkExperimental }, log);
}
