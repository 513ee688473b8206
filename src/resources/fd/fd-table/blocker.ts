/** What the user is told of a file that cannot be dumped. */
import type { CriuErrorFields } from '../../../base/errors.ts';
import type { OpenFile, Unsupported } from '../file-kind.ts';

export function blocker(file: OpenFile, { unsupported, remedy, action }: Unsupported): CriuErrorFields {
  const fields = { object: file.object, action: action ?? 'cannot be dumped', why: unsupported };
  return remedy === undefined ? fields : { ...fields, remedy };
}
