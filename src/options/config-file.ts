/**
 * Configuration files: one option a line, without the dashes, with its value after blanks, or after "=" as in arguments.
 *
 * "#" begins a comment, except in double quotes; `\"` is a quote, every other backslash is itself. Pure.
 * Where we differ from CRIU 4.2 on purpose: "#" inside quotes belongs to the value, an optional value counts
 * (`verbosity 4`), and every error says file and line.
 */

/** One option of a file, as a word for getopt: "--name" or "--name=value". */
export interface ConfigLine {
  readonly word: string;
  readonly name: string;
  /** From 1. */
  readonly line: number;
}

/** A line that cannot be understood; the message has no position. */
export class ConfigLineError extends Error {
  override readonly name = 'ConfigLineError';
  readonly line: number;
  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/** Parses the text of a file. Throws ConfigLineError. */
export function parseConfigFile(text: string): ConfigLine[] {
  const lines: ConfigLine[] = [];
  let number = 0;
  for (const line of text.split('\n')) {
    number++;
    const parsed = parseLine(line, number);
    if (parsed !== undefined) lines.push(parsed);
  }
  return lines;
}

function parseLine(text: string, line: number): ConfigLine | undefined {
  const match = /^[ \t\r\v\f]*([^ \t\r\v\f#=]*)(=[^ \t\r\v\f#]*)?(.*)$/s.exec(text);
  const [, name = '', assigned, after = ''] = match ?? [];
  if (name === '' && assigned === undefined) return undefined;
  if (name.includes('\0')) throw new ConfigLineError(line, 'the line has a zero byte: this is not a text file');
  if (name.startsWith('-')) {
    throw new ConfigLineError(
      line,
      `'${name}': options are written without the leading dashes in a configuration file`,
    );
  }
  const value = parseValue(after, line);
  if (assigned !== undefined) {
    if (value !== undefined) throw new ConfigLineError(line, `unexpected '${value}' after '${name}${assigned}'`);
    return { word: `--${name}${assigned}`, name, line };
  }
  return { word: value === undefined ? `--${name}` : `--${name}=${value}`, name, line };
}

/** The value in what follows the name; undefined when there is none. */
function parseValue(after: string, line: number): string | undefined {
  const text = after.trimStart();
  if (text === '' || text.startsWith('#')) return undefined;
  const match = text.startsWith('"')
    ? /^"((?:[^"\\]|\\"|\\(?!"))*)"(.*)$/s.exec(text)
    : /^((?:[^ \t\r\v\f#"\\]|\\"|\\(?!")|(?<!^)")+)(.*)$/s.exec(text);
  const [, value, rest] = match ?? [];
  if (value === undefined || rest === undefined) throw new ConfigLineError(line, 'a double quote is not closed');
  const more = rest.trimStart();
  if (more !== '' && !more.startsWith('#')) {
    throw new ConfigLineError(
      line,
      `unexpected '${more.trimEnd()}' after the value; put values with blanks in double quotes`,
    );
  }
  return value.replaceAll('\\"', '"');
}
