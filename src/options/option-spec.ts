/** What a row of the option table says. */

import type { CommandName } from './commands.ts';
import type { CriuOptions } from './criu-options.ts';

type KeysOf<Value> = { [Key in keyof CriuOptions]: CriuOptions[Key] extends Value ? Key : never }[keyof CriuOptions];
export type BooleanField = KeysOf<boolean>;
export type TextField = {
  [Key in keyof CriuOptions]: string extends CriuOptions[Key] ? Key : never;
}[keyof CriuOptions];
export type ListField = {
  [Key in keyof CriuOptions]: string[] extends CriuOptions[Key] ? Key : never;
}[keyof CriuOptions];

/** One use of an option, by command line or configuration file. */
export interface Given {
  /** "-t" or "--tree". */
  readonly spelling: string;
  /** undefined when the option was given without one. */
  readonly value: string | undefined;
  /** false for `--no-NAME`. */
  readonly isOn: boolean;
}

export type OptionGroup =
  | 'general'
  | 'tree'
  | 'files'
  | 'external'
  | 'namespaces'
  | 'network'
  | 'cgroups'
  | 'memory'
  | 'page server'
  | 'check'
  | 'logging'
  | 'configuration';

interface OptionText {
  readonly long: string;
  /** One char. */
  readonly short?: string;
  /** Name of the value in help: PID. */
  readonly metavar?: string;
  readonly group: OptionGroup;
  /** The commands on which it has an effect. */
  readonly commands: 'all' | readonly CommandName[];
  /** The field of criu_opts (RPC) with the same meaning; null when there is none. */
  readonly rpc: string | null;
  /** 'later': refused by name when given to a command on which it has an effect. */
  readonly capability: 'built' | 'later';
  /** For options of which only some values are built: the text to refuse, such as "--external tty[8801:d]". */
  readonly laterWhen?: (given: Given) => string | undefined;
  /** Our own words; one to four sentences. */
  readonly help: string;
  /** An old spelling: accepted, not shown in the help of a command. */
  readonly isOld?: true;
}

/** Changes `options` or throws ValueError. */
export type Apply = (options: CriuOptions, given: Given) => void;

/**
 * How the value reaches its field: a flag or a plain text by its type alone, anything else through `apply`.
 * 'negatable' has a twin `--no-NAME`.
 */
export type OptionSpec = OptionText &
  (
    | { readonly argument: 'none' | 'negatable'; readonly sets: BooleanField; readonly apply?: undefined }
    | {
        readonly argument: 'required';
        readonly sets: TextField;
        readonly repeated?: never;
        readonly apply?: undefined;
      }
    | { readonly argument: 'required'; readonly sets: ListField; readonly repeated: true; readonly apply?: undefined }
    | {
        readonly argument: 'none' | 'required' | 'optional';
        readonly sets: keyof CriuOptions | null;
        /** May be given several times, each adding something. */
        readonly repeated?: true;
        readonly apply: Apply;
      }
  );
