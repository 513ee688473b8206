/**
 * From a request (RPC, criu_opts of proto/rpc.proto) to the same options that the command line gives. Pure.
 *
 * A request is translated field by field into uses of options, by the `rpc` column of the option table, so values,
 * contradictions and what is not supported are judged by the same code. Later sources win: default configuration files,
 * CRIU_CONFIG_FILE, the request, and the configuration file that the request names (config_file).
 */

import { CriuError } from '../base/errors.ts';
import type { CriuOpts } from '../image/gen/rpc.ts';
import { type CommandName, findCommand } from './commands.ts';
import { defaultOptions } from './criu-options.ts';
import { parseGetopt } from './getopt.ts';
import { notesOf, refuseContradictions } from './option-rules.ts';
import type { OptionSpec, RpcValues } from './option-spec.ts';
import { OPTION_TABLE } from './option-table.ts';
import {
  applyOption,
  type CommandLine,
  type Environment,
  isGiven,
  optionSet,
  type ReadFile,
  readConfigFile,
  readConfigFiles,
  refuseWhatComesLater,
  type State,
  UsageError,
} from './parse-command-line.ts';
import { ValueError } from './values.ts';

/** What has to be known besides the request. */
export interface RequestContext {
  readonly command: CommandName;
  readonly args: readonly string[];
  /** Configuration options of the command line of criu itself: `--config FILE`, `--no-default-config`. */
  readonly words: readonly string[];
  readonly env: Environment;
  /** For configuration files that the request does not name. */
  readonly readFile: ReadFile;
  /** For the one that it does: with the rights of the client. */
  readonly readClientFile: ReadFile;
  /** The path of a folder that the client has open. */
  readonly folder: (fd: number) => string;
  /** The client: who is dumped when the request names nobody. */
  readonly clientPid: number;
  /** Whether the client has started this process, so that it shares descriptors and parent with it. */
  readonly isOwnWorker: boolean;
}

/**
 * Fields that are no options of the command line: notifications, the configuration file of a request, and what is
 * refused. src/rpc acts on them; each field of criu_opts is either here or in the option table.
 */
export const FIELDS_WITHOUT_OPTION: readonly (keyof CriuOpts)[] = [
  'notify_scripts',
  'orphan_pts_master',
  'config_file',
  'pidfd_store_sk',
];

/** Log of a request that names no other. */
const DEFAULT_LOG_FILE = 'criu.log';

/** Throws CriuError for everything that is wrong in the request. */
export function parseRequest(opts: CriuOpts, context: RequestContext): CommandLine {
  const { command, args, env, readFile } = context;
  const set = optionSet();
  const state: State = { options: defaultOptions(), given: [], notes: [] };
  const { options } = state;
  const own = parseGetopt(context.words, set).given;
  readConfigFiles(own, env, readFile, set, state);
  for (const given of own) applyOption(given, state, '');
  // The images folder is a matter of the request alone.
  options.imagesDir = '';
  if (command === 'dump') options.treePid = context.clientPid;
  // A request ends with its answer.
  if (command === 'restore') options.detached = true;
  applyRequest(opts, context.folder, state);
  if (opts.log_file === undefined && opts.log_to_stderr !== true && command !== 'check') {
    options.logFile ??= DEFAULT_LOG_FILE;
  }
  // Callers name a file of their own whether it exists or not, and rely on it that a missing one is no mistake.
  if (opts.config_file !== undefined && !readConfigFile(opts.config_file, context.readClientFile, set, state)) {
    state.notes.push({
      level: 'info',
      text: `The configuration file of the request does not exist: ${opts.config_file}`,
    });
  }
  requireImagesDir(state, command);
  refuseForeign(opts, context);
  const spec = findCommand(command);
  if (spec !== undefined) refuseWhatComesLater(spec, args, state);
  refuseContradictions(command, options, args);
  const notes = [...state.notes, ...notesOf(command, options, (long) => isGiven(state, long))];
  return { command, topic: undefined, args, options, notes };
}

function applyRequest(opts: CriuOpts, folder: (fd: number) => string, state: State): void {
  for (const spec of OPTION_TABLE) {
    for (const field of fieldsOf(spec)) {
      for (const value of valuesOf(spec, field, opts, folder)) {
        const isOn = value !== false;
        // A flag without `--no-NAME` that is off says nothing.
        if (!isOn && spec.argument === 'none' && spec.apply !== undefined) continue;
        const text = typeof value === 'string' ? value : undefined;
        applyOption({ id: { spec, isOn }, spelling: field, value: text }, state, `${field}: `);
      }
    }
  }
}

/** The fields of a request that give this option. */
export function fieldsOf({ rpc }: OptionSpec): (keyof CriuOpts)[] {
  if (rpc === null) return [];
  return typeof rpc === 'string' ? [rpc] : (Object.keys(rpc) as (keyof CriuOpts)[]);
}

function valuesOf(
  { rpc }: OptionSpec,
  field: keyof CriuOpts,
  opts: CriuOpts,
  folder: (fd: number) => string,
): RpcValues {
  const value = opts[field];
  if (value === undefined || rpc === null) return [];
  try {
    return typeof rpc === 'string' ? plainValues(value) : translate(rpc, field, opts, folder);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new UsageError(`${field}: ${error.message}`, false);
  }
}

type Translations = Exclude<OptionSpec['rpc'], string | null>;

function translate<F extends keyof CriuOpts>(
  rpc: Translations,
  field: F,
  opts: CriuOpts,
  folder: (fd: number) => string,
): RpcValues {
  const value = opts[field];
  const values: Translations[F] | undefined = rpc[field];
  return value === undefined || value === null ? [] : (values?.(value, folder) ?? []);
}

function plainValues(value: NonNullable<CriuOpts[keyof CriuOpts]>): RpcValues {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((item) => (typeof item === 'boolean' ? item : String(item)));
}

function requireImagesDir({ options }: State, command: CommandName): void {
  if (options.imagesDir !== '') return;
  if (command !== 'check') {
    throw new CriuError({ action: 'Neither images_dir_fd nor images_dir was passed by RPC client' });
  }
  options.imagesDir = '.';
}

/** What only makes sense between a program and the criu that it has started. */
function refuseForeign(opts: CriuOpts, { isOwnWorker }: RequestContext): void {
  if (opts.pidfd_store_sk !== undefined) {
    throw new CriuError({ action: 'pidfd_store_sk is not supported yet by this criu' });
  }
  if (isOwnWorker) return;
  const remedy = 'start criu yourself, with criu swrk FD';
  if (opts.rst_sibling === true)
    throw new CriuError({ action: 'rst_sibling is not allowed in standalone service', remedy });
  if (opts.inherit_fd.length > 0)
    throw new CriuError({ action: 'inherit_fd is not allowed in standalone service', remedy });
}
