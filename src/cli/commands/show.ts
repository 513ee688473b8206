/** `criu show`: CRIU gave this up in favour of crit; both refuse with exit status 255. */

import { CriuError } from '../../base/errors.ts';

/** Always throws. */
export function run(): never {
  throw new CriuError({
    action: 'The "show" action is deprecated by the CRIT utility',
    remedy: 'to view an image use the "crit decode -i $name --pretty" command',
    exitCode: 255,
  });
}
