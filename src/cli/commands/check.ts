/** `criu check`: what the options ask is asked of the running kernel, or of a tree. */
import { CriuError } from '../../base/errors.ts';
import { checkFeature, checkKernel } from '../../check/check.ts';
import { FEATURE_NAMES, isFeatureName } from '../../options/feature-names.ts';
import type { CommandContext } from '../command-context.ts';
import { checkTreeOf } from './check-tree.ts';

/** Returns the exit status: 0 all there, 1 something missing. Throws CriuErrors when a tree cannot be dumped. */
export async function run(context: CommandContext): Promise<number> {
  const { options, log } = context;
  const { checkFeature: name, checkExtra, checkExperimental, treePid } = options;
  if (treePid > 0) {
    if (name === undefined && !checkExtra && !checkExperimental) return checkTreeOf(context);
    const action = '--tree asks about a tree, the other options of check about the kernel';
    throw new CriuError({ action, remedy: 'ask one after the other' });
  }
  if (name === 'list') {
    log.message(FEATURE_NAMES.join('\n'));
    return 0;
  }
  if (name !== undefined && isFeatureName(name)) return await checkFeature(name, log);
  return await checkKernel({ extra: checkExtra, experimental: checkExperimental }, log);
}
