/**
 * The text of --cgroup-props: which properties of which controllers are kept, in a simple form of YAML. Pure.
 *
 *     "cpu":
 *       - "strategy": "replace"
 *       - "properties": ["cpu.shares", "cpu.cfs_period_us"]
 *
 * "merge" adds to the properties that criu knows, "replace" takes their place. As lenient as it can be without being
 * ambiguous: quotes may be left out, blanks and line breaks are free, and without a strategy properties are merged (as
 * criu 3.12 did).
 */
import { CriuError } from '../../base/errors.ts';

/** What the text says about one controller. */
export interface PropertyRule {
  readonly controller: string;
  readonly strategy: 'merge' | 'replace';
  readonly properties: readonly string[];
}

/** `source` names the text in errors: the option, or the file. Throws CriuError with the line. */
export function parsePropertySpec(text: string, source: string): PropertyRule[] {
  const scanner = new Scanner(text, source);
  const rules: PropertyRule[] = [];
  while (scanner.peek() !== undefined) rules.push(parseRule(scanner));
  return rules;
}

function parseRule(scanner: Scanner): PropertyRule {
  const controller = scanner.word('the name of a controller');
  scanner.sign(':');
  let strategy: PropertyRule['strategy'] = 'merge';
  let properties: string[] | undefined;
  do {
    scanner.sign('-');
    const key = scanner.word('"strategy" or "properties"');
    scanner.sign(':');
    if (key === 'strategy') strategy = parseStrategy(scanner);
    else if (key === 'properties') properties = [...(properties ?? []), ...parseList(scanner)];
    else throw scanner.unexpected('"strategy" or "properties"', key);
  } while (scanner.peek() === '-');
  if (properties === undefined) throw scanner.unexpected(`"properties" of controller ${controller}`, scanner.peek());
  return { controller, strategy, properties };
}

function parseStrategy(scanner: Scanner): PropertyRule['strategy'] {
  const word = scanner.word('"merge" or "replace"');
  if (word !== 'merge' && word !== 'replace') throw scanner.unexpected('"merge" or "replace"', word);
  return word;
}

function parseList(scanner: Scanner): string[] {
  const names: string[] = [];
  scanner.sign('[');
  while (scanner.peek() !== ']') {
    if (names.length > 0) scanner.sign(',');
    const name = scanner.word('the name of a property');
    if (name.includes('/')) throw scanner.unexpected('a name without "/"', name);
    names.push(name);
  }
  scanner.sign(']');
  return names;
}

/** Blanks, then a quoted word, a plain word, or one of the signs. */
const TOKEN = /[ \t\r\n]*(?:"([^"\n]+)"|([A-Za-z0-9_.=]+)|([:,[\]-])|(.))?/sy;

/** A token: a word, or a sign. */
interface Token {
  readonly word: string | undefined;
  readonly sign: string | undefined;
  readonly line: number;
}

class Scanner {
  readonly #tokens: Token[] = [];
  readonly #source: string;
  readonly #lastLine: number;
  #next = 0;

  constructor(text: string, source: string) {
    this.#source = source;
    let line = 1;
    TOKEN.lastIndex = 0;
    for (let match = TOKEN.exec(text); match !== null; match = TOKEN.exec(text)) {
      const [all, quoted, plain, sign, other] = match;
      line += all.split('\n').length - 1;
      const word = quoted ?? plain;
      if (word === undefined && sign === undefined && other === undefined) break;
      this.#tokens.push({ word, sign: sign ?? other, line });
    }
    this.#lastLine = line;
  }

  /** The next word or sign, which stays; undefined at the end. */
  peek(): string | undefined {
    const token = this.#tokens[this.#next];
    return token?.sign ?? token?.word;
  }

  word(what: string): string {
    const token = this.#tokens[this.#next];
    if (token?.word === undefined) throw this.unexpected(what, token?.sign);
    this.#next++;
    return token.word;
  }

  sign(sign: string): void {
    const token = this.#tokens[this.#next];
    if (token?.sign !== sign) throw this.unexpected(`"${sign}"`, token?.sign ?? token?.word);
    this.#next++;
  }

  unexpected(what: string, found: string | undefined): CriuError {
    const isTaken = this.#tokens[this.#next - 1]?.word === found;
    const token = this.#tokens[isTaken ? this.#next - 1 : this.#next];
    return new CriuError({
      object: this.#source,
      action: `${what} expected in line ${token?.line ?? this.#lastLine}, found ${found === undefined ? 'the end' : `"${found}"`}`,
      remedy: 'write "cpu": - "strategy": "merge" - "properties": ["cpu.shares"], each "-" in a line of its own',
    });
  }
}
