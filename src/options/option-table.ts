/**
 * THE option table. Command line, configuration files, help, man page and (later) RPC read it; a field of CriuOptions
 * that no row sets is a compile error here.
 */

import type { CriuOptions } from './criu-options.ts';
import type { OptionSpec } from './option-spec.ts';
import { FILE_OPTIONS } from './table/file-options.ts';
import { GENERAL_OPTIONS } from './table/general-options.ts';
import { MEMORY_OPTIONS } from './table/memory-options.ts';
import { NAMESPACE_OPTIONS } from './table/namespace-options.ts';
import { TREE_OPTIONS } from './table/tree-options.ts';

const ROWS = [...GENERAL_OPTIONS, ...TREE_OPTIONS, ...FILE_OPTIONS, ...NAMESPACE_OPTIONS, ...MEMORY_OPTIONS] as const;

/** Filled in by the row of another field: -x INODES beside -x, mnt[]:FLAGS beside --external, --all. */
type FilledBeside = 'externalUnixInodes' | 'externalMountsAuto';
type Forgotten = Exclude<keyof CriuOptions, (typeof ROWS)[number]['sets'] | FilledBeside>;
type WhenComplete<Rows> = [Forgotten] extends [never] ? Rows : Forgotten;

export const OPTION_TABLE: WhenComplete<readonly OptionSpec[]> = ROWS;
