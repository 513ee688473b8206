/** `criu restore`: translates the options into a call of the module that does the work. */

import { CriuError } from '../../base/errors.ts';
import type { CommandContext } from '../command-context.ts';

/** Throws CriuError when it cannot be done. */
export function run(_context: CommandContext): number {
  throw new CriuError({ action: 'restore is not supported yet by this criu' });
}
