/**
 * From the words of the command line, the environment and the configuration files to one CommandLine. Pure: files come
 * through `readFile`.
 *
 * Later sources win: /etc/criu/default.conf, $HOME/.criu/default.conf, CRIU_CONFIG_FILE, --config FILE, command line.
 * The first two are left out with --no-default-config and, as in CRIU, with --config.
 */

import { CriuError } from '../base/errors.ts';
import { type CommandName, type CommandSpec, findCommand } from './commands.ts';
import { ConfigLineError, parseConfigFile } from './config-file.ts';
import { type CriuOptions, defaultOptions } from './criu-options.ts';
import { type GivenOption, type LongOption, type OptionSet, parseGetopt, type ShortOption } from './getopt.ts';
import { type Note, notesOf, refuseContradictions } from './option-rules.ts';
import type { Given, OptionSpec } from './option-spec.ts';
import { OPTION_TABLE } from './option-table.ts';
import { ValueError } from './values.ts';

export interface CommandLine {
  /** 'help' and 'version' when asked for, whatever the command. */
  readonly command: CommandName | 'help' | 'version';
  /** For 'help': the command that the help is asked for. */
  readonly topic: CommandName | undefined;
  /** The sub-command of cpuinfo, the descriptor of swrk, the program of --exec-cmd. */
  readonly args: readonly string[];
  readonly options: CriuOptions;
  /** To be logged once the log is open. */
  readonly notes: readonly Note[];
}

/** A mistake in the command line or a configuration file; exit status 1. */
export class UsageError extends CriuError {
  /** Whether the usage should be shown, as CRIU does. */
  readonly showUsage: boolean;
  constructor(action: string, showUsage: boolean) {
    super({ action });
    this.showUsage = showUsage;
  }
}

/** The content of a file as a byte string; undefined when there is no such file. May throw when it cannot be read. */
export type ReadFile = (path: string) => string | undefined;

/** The variables that matter here, as byte strings. */
export interface Environment {
  readonly HOME?: string | undefined;
  readonly CRIU_CONFIG_FILE?: string | undefined;
  readonly CRIU_DEPRECATED?: string | undefined;
  readonly CRIU_LIBS_DIR?: string | undefined;
}

/**
 * `words` are the arguments without the program name, all byte strings. Throws UsageError for wrong input and
 * CriuError for what is not supported yet.
 */
export function parseCommandLine(words: readonly string[], env: Environment, readFile: ReadFile): CommandLine {
  if (asksForHelp(words)) return helpFor(words);
  const set = optionSet();
  const result = parseGetopt(words, set);
  const state: State = { options: defaultOptions(), given: [], notes: [] };
  readConfigFiles(result.given, env, readFile, set, state);
  for (const given of result.given) applyOption(given, state, '');
  if (isGiven(state, 'version')) return { ...nothing, command: 'version', options: state.options };
  if (isGiven(state, 'help')) return helpFor(words);
  if (result.error !== undefined) throw new UsageError(result.error, true);
  if (env.CRIU_DEPRECATED !== undefined) state.options.deprecatedOk = true;
  state.options.pluginDir ??= env.CRIU_LIBS_DIR;

  const command = findCommandIn(result.rest);
  const args = argumentsOf(command, result.rest.slice(1), state.options);
  refuseContradictions(command.name, state.options, args);
  refuseWhatComesLater(command, args, state);
  const notes = [...state.notes, ...notesOf(command.name, state.options, (long) => isGiven(state, long))];
  return { command: command.name, topic: undefined, args, options: state.options, notes };
}

/** Options while they are gathered from their sources. */
export interface State {
  readonly options: CriuOptions;
  readonly given: (Given & { readonly spec: OptionSpec })[];
  readonly notes: Note[];
}

export interface OptionId {
  readonly spec: OptionSpec;
  readonly isOn: boolean;
}

/** `criu swrk FD service`: the client is not who has started this process. */
export const SERVICE_WORKER = 'service';

const nothing = { topic: undefined, args: [], notes: [] } as const;

/** Help wins over everything, also over mistakes elsewhere and over broken configuration files. */
function asksForHelp(words: readonly string[]): boolean {
  for (const word of words) {
    if (word === '--') return false;
    if (word === '--help' || word === '-h') return true;
  }
  return false;
}

function helpFor(words: readonly string[]): CommandLine {
  const topic = words.map(findCommand).find((command) => command !== undefined)?.name;
  return { command: 'help', topic, args: [], options: defaultOptions(), notes: [] };
}

/** The table as getopt wants it. */
export function optionSet(): OptionSet<OptionId> {
  const long: LongOption<OptionId>[] = [];
  const short: ShortOption<OptionId>[] = [];
  for (const spec of OPTION_TABLE) {
    const id = { spec, isOn: true };
    const argument = spec.argument === 'negatable' ? 'none' : spec.argument;
    long.push({ name: spec.long, argument, id });
    if (spec.argument === 'negatable') long.push({ name: `no-${spec.long}`, argument, id: { spec, isOn: false } });
    if (spec.short !== undefined) short.push({ name: spec.short, argument, id });
  }
  return { long, short };
}

export function applyOption({ id, spelling, value }: GivenOption<OptionId>, state: State, position: string): void {
  const { spec, isOn } = id;
  const given: Given = { spelling, value, isOn };
  try {
    apply(spec, given, state.options);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new UsageError(position + error.message, error.showUsage && position === '');
  }
  state.given.push({ ...given, spec });
}

function apply(spec: OptionSpec, given: Given, options: CriuOptions): void {
  if (spec.apply !== undefined) {
    spec.apply(options, given);
  } else if (spec.argument === 'required') {
    if (spec.repeated) options[spec.sets].push(given.value ?? '');
    else options[spec.sets] = given.value ?? '';
  } else {
    options[spec.sets] = given.isOn;
  }
}

export function isGiven(state: State, long: string): boolean {
  for (const { spec } of state.given) if (spec.long === long) return true;
  return false;
}

export function readConfigFiles(
  cli: readonly GivenOption<OptionId>[],
  env: Environment,
  readFile: ReadFile,
  set: OptionSet<OptionId>,
  state: State,
): void {
  let named: string | undefined;
  let wantsDefaults = true;
  for (const { id, value } of cli) {
    if (id.spec.long === 'config') named = value;
    if (id.spec.long === 'config' || id.spec.long === 'no-default-config') wantsDefaults = false;
  }
  const home = env.HOME;
  if (wantsDefaults) {
    readConfigFile('/etc/criu/default.conf', readFile, set, state);
    if (home !== undefined) readConfigFile(`${home}/.criu/default.conf`, readFile, set, state);
  }
  const fromEnvironment = env.CRIU_CONFIG_FILE;
  if (fromEnvironment !== undefined && !readConfigFile(fromEnvironment, readFile, set, state)) {
    const text = `CRIU_CONFIG_FILE names a file that does not exist: ${fromEnvironment}`;
    state.notes.push({ level: 'warn', text });
  }
  if (named !== undefined && !readConfigFile(named, readFile, set, state)) {
    throw new UsageError(`cannot read configuration file ${named}: there is none, or it is not for you to read`, false);
  }
}

/** Returns false when the file does not exist. */
export function readConfigFile(path: string, readFile: ReadFile, set: OptionSet<OptionId>, state: State): boolean {
  const text = readFile(path);
  if (text === undefined) return false;
  state.notes.push({ level: 'debug', text: `Parsing config file ${path}` });
  try {
    for (const { word, name, line } of parseConfigFile(text)) {
      const position = `${path}:${line}: `;
      const { given, error } = parseGetopt([word], set);
      if (error !== undefined) throw new UsageError(position + describeConfigError(name, error), false);
      for (const option of given) applyOption(option, state, position);
    }
  } catch (error) {
    if (!(error instanceof ConfigLineError)) throw error;
    throw new UsageError(`${path}:${error.line}: ${error.message}`, false);
  }
  return true;
}

function describeConfigError(name: string, error: string): string {
  if (findCommand(name) !== undefined) return `'${name}' is a command; a configuration file takes options only`;
  return error;
}

function findCommandIn(rest: readonly string[]): CommandSpec {
  const [word] = rest;
  if (word === undefined) throw new UsageError('command is required', true);
  const command = findCommand(word);
  if (command === undefined) throw new UsageError(`unknown command: ${word}`, true);
  return command;
}

/** What may follow the command. */
function argumentsOf(command: CommandSpec, rest: readonly string[], options: CriuOptions): readonly string[] {
  const { name } = command;
  if (name === 'exec' || name === 'show' || name === 'crit') return rest;
  if (name === 'swrk') {
    // The second word is how the service starts a worker.
    if (rest.length !== 1 && rest[1] !== SERVICE_WORKER) throw new UsageError('Usage: criu swrk <fd>', false);
    return rest;
  }
  if (options.execCmd) return rest;
  const taken = name === 'cpuinfo' ? 1 : 0;
  if (name === 'cpuinfo') assertCpuinfoAction(rest[0]);
  if (rest.length > taken) {
    const plural = rest.length - taken > 1 ? 's' : '';
    throw new UsageError(`excessive parameter${plural} for command ${name}: ${rest.slice(taken).join(' ')}`, true);
  }
  return rest;
}

function assertCpuinfoAction(action: string | undefined): void {
  if (action === undefined) throw new UsageError('cpuinfo requires an action: dump or check', true);
  if (action !== 'dump' && action !== 'check') throw new UsageError(`unknown cpuinfo sub-command: ${action}`, true);
}

/** Commands and options that this release does not do yet are refused by name before anything is touched. */
export function refuseWhatComesLater(command: CommandSpec, args: readonly string[], state: State): void {
  if (command.capability === 'later') throw notSupportedYet([command.name, ...args].join(' '));
  for (const given of state.given) {
    const { spec } = given;
    const isConcerned = spec.commands === 'all' || spec.commands.includes(command.name);
    if (!given.isOn || !isConcerned || isTakenBack(spec, state.options)) continue;
    if (spec.capability === 'later') throw notSupportedYet(given.spelling);
    const refused = spec.laterWhen?.(given, command.name);
    if (refused !== undefined) throw notSupportedYet(refused);
  }
}

/** Whether a later --no-OPTION has switched a flag off again. */
function isTakenBack(spec: OptionSpec, options: CriuOptions): boolean {
  return spec.apply === undefined && spec.argument !== 'required' && !options[spec.sets];
}

function notSupportedYet(what: string): CriuError {
  return new CriuError({ action: `${what} is not supported yet by this criu` });
}
