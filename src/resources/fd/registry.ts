/** All kinds of open files. The order does not matter: each file is recognised by one kind only. */

import { fifo } from './fifo/fifo.ts';
import type { FileKind } from './file-kind.ts';
import { pipe } from './pipe/pipe.ts';
import { regularFile } from './regular-file/regular-file.ts';

export const FILE_KINDS: readonly FileKind[] = [regularFile, pipe, fifo];
