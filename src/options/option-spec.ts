/** What a row of the option table says. */

import type { CriuOpts } from '../image/gen/rpc.ts';
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

/**
 * The values of an option in a request: a text as the command line would have it, or whether a flag is on. false takes
 * back what a configuration file has said, also where the command line has no `--no-NAME`.
 */
export type RpcValues = readonly (string | boolean)[];

/**
 * Fields of criu_opts with the meaning of an option. A name alone is enough for a flag, a text, a number, or a list of
 * them; anything else says how it is translated. `folder` names a folder that the client has open.
 */
export type RpcSource =
  | keyof CriuOpts
  | {
      readonly [Field in keyof CriuOpts]?: (
        value: NonNullable<CriuOpts[Field]>,
        folder: (fd: number) => string,
      ) => RpcValues;
    };

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
  /** What of a request (RPC) gives this option; null when nothing does. */
  readonly rpc: RpcSource | null;
  /** 'later': refused by name when given to a command on which it has an effect. */
  readonly capability: 'built' | 'later';
  /** For options of which only some values or uses are built: the text to refuse, such as "--external tty[8801:d]". */
  readonly laterWhen?: (given: Given, command: CommandName) => string | undefined;
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
