/**
 * `criu crit` with options of criu before the word `crit`. The image tool has options of its own, with the same letters,
 * so it must come first; main.ts starts it then without looking at the rest.
 */

import { CriuError } from '../../base/errors.ts';

/** Always throws. */
export function run(): never {
  throw new CriuError({
    action: 'crit takes no options of criu',
    remedy: 'write "criu crit" and its own options after it',
  });
}
