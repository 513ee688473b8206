/** `criu exec`: CRIU gave this up in favour of Compel; both refuse with exit status 255. */

import { CriuError } from '../../base/errors.ts';

/** Always throws. */
export function run(): never {
  throw new CriuError({ action: 'The "exec" action is deprecated by the Compel library.', exitCode: 255 });
}
