/**
 * What this run of criu was called with. Not `process.argv` and `process.env`: those of a process that started from an image
 * are of the process that the image was taken of (start/).
 */
import { fromByteString, toByteString } from './bytes.ts';

export interface Invocation {
  /** The command line, the program's name first; byte strings. */
  readonly words: readonly string[];
  /** The value of a variable of the environment, a byte string. */
  variable(name: string): string | undefined;
  /** Code of criu has been run before: in the process that the start image is of. */
  readonly isWarm: boolean;
  /** All variables as text, for programs that are started. */
  environment(): Record<string, string | undefined>;
}

/** With this variable in the environment criu starts without its image; criu that is started by criu does so, too. */
export const PLAIN_START = 'CRIU_PLAIN_START';

/** Set anew for each run from an image. */
let called: Invocation | undefined;

export function invocation(): Invocation {
  called ??= ofRuntime();
  return called;
}

export function setInvocation(of: Invocation | undefined): void {
  called = of;
}

/** What the runtime says. It decodes as UTF-8; bytes that are not are lost. */
function ofRuntime(): Invocation {
  const words = [toByteString(process.argv0)];
  // Plain loops here and in the parser: the first use of each array method costs the runtime up to 0.2 ms.
  for (let index = 2; index < process.argv.length; index++) words.push(toByteString(process.argv[index] ?? ''));
  return {
    words,
    isWarm: false,
    variable(name) {
      const text = process.env[name];
      return text === undefined ? undefined : toByteString(text);
    },
    environment: () => process.env,
  };
}

/**
 * The same of a start image, as the kernel keeps it (proc(5)): byte strings, each of them with a zero behind it. `environment` is
 * called when a variable is asked for.
 */
export function invocationOf(commandLine: string, environment: () => string): Invocation {
  const words = commandLine.split('\0');
  words.pop();
  let read: string | undefined;
  const text = () => {
    read ??= `\0${environment()}`;
    return read;
  };
  return {
    words,
    isWarm: true,
    variable(name) {
      const prefix = `\0${name}=`;
      const at = text().indexOf(prefix);
      return at < 0 ? undefined : text().slice(at + prefix.length, text().indexOf('\0', at + 1));
    },
    environment() {
      const variables: Record<string, string> = {};
      for (const variable of text().split('\0').slice(1, -1)) {
        const at = variable.indexOf('=');
        variables[fromByteString(variable.slice(0, at))] = fromByteString(variable.slice(at + 1));
      }
      return variables;
    },
  };
}
