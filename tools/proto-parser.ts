/**
 * Parser for the part of the proto2 language that the image schemas use: messages, enums (nested too), the three labels,
 * scalar types, field options (standard and `(criu).x`), `reserved`, imports and `extend` (skipped). Everything else is
 * an error with file and line, so that a schema can never be half understood.
 */

export type Label = 'required' | 'optional' | 'repeated';
export type OptionValue = string | number | boolean;

export interface ProtoField {
  readonly number: number;
  readonly name: string;
  readonly label: Label;
  /** A scalar type name, or the name of a message or enum as written. */
  readonly type: string;
  /** Standard options under their own names, custom ones as written: `(criu).hex`. */
  readonly options: ReadonlyMap<string, OptionValue>;
}

export interface ProtoMessage {
  readonly kind: 'message';
  /** Name with the names of the enclosing messages: `core_entry.march`. */
  readonly name: string;
  readonly fields: readonly ProtoField[];
}

export interface ProtoEnum {
  readonly kind: 'enum';
  readonly name: string;
  readonly values: readonly { readonly name: string; readonly number: number }[];
}

export interface ProtoFile {
  readonly fileName: string;
  readonly imports: readonly string[];
  /** In source order; nested definitions follow the message that holds them. */
  readonly definitions: readonly (ProtoMessage | ProtoEnum)[];
}

interface Token {
  readonly text: string;
  readonly line: number;
}

/** Parses one schema. Throws an Error that begins with `fileName:line:`. */
export function parseProto(fileName: string, source: string): ProtoFile {
  return new Parser(fileName, tokenize(fileName, source)).file();
}

const TOKEN = /\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|"[^"\n]*"|-?(?:0x[0-9a-fA-F]+|\d+)|[A-Za-z_][\w.]*|[{}[\]();=,.]/y;

function tokenize(fileName: string, source: string): Token[] {
  const tokens: Token[] = [];
  let line = 1;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < source.length) {
    const start = TOKEN.lastIndex;
    const text = TOKEN.exec(source)?.[0];
    if (text === undefined) throw new Error(`${fileName}:${line}: unexpected character '${source[start]}'`);
    if (!/^(\s|\/[/*])/.test(text)) tokens.push({ text, line });
    line += text.split('\n').length - 1;
  }
  return tokens;
}

class Parser {
  private readonly fileName: string;
  private readonly tokens: readonly Token[];
  private position = 0;
  private readonly imports: string[] = [];
  private readonly definitions: (ProtoMessage | ProtoEnum)[] = [];

  constructor(fileName: string, tokens: readonly Token[]) {
    this.fileName = fileName;
    this.tokens = tokens;
  }

  file(): ProtoFile {
    this.expect('syntax');
    this.expect('=');
    this.expect('"proto2"');
    this.expect(';');
    while (this.position < this.tokens.length) this.topLevel();
    return { fileName: this.fileName, imports: this.imports, definitions: this.definitions };
  }

  private topLevel(): void {
    const keyword = this.next();
    if (keyword === 'import') {
      this.imports.push(this.quoted());
      this.expect(';');
    } else if (keyword === 'message') this.message('');
    else if (keyword === 'enum') this.enumeration('');
    else if (keyword === 'extend') this.skipBlock();
    else if (keyword !== ';') this.fail(`unexpected '${keyword}'`);
  }

  private message(scope: string): void {
    const name = scope + this.identifier();
    const fields: ProtoField[] = [];
    // The place is taken first, so that the outer message comes before its nested ones.
    this.definitions.push({ kind: 'message', name, fields });
    this.expect('{');
    while (!this.accept('}')) {
      const word = this.next();
      if (word === 'message') this.message(`${name}.`);
      else if (word === 'enum') this.enumeration(`${name}.`);
      else if (word === 'reserved') this.skipStatement();
      else if (word === 'required' || word === 'optional' || word === 'repeated') fields.push(this.field(word));
      else if (word !== ';') this.fail(`unexpected '${word}' in message ${name}`);
    }
    this.checkUnique(name, fields);
  }

  private field(label: Label): ProtoField {
    const type = this.identifier();
    const name = this.identifier();
    this.expect('=');
    const number = this.integer();
    if (number < 1 || number > 0x1fffffff) this.fail(`field number ${number} is out of range`);
    const options = this.accept('[') ? this.options() : new Map<string, OptionValue>();
    this.expect(';');
    return { number, name, label, type, options };
  }

  private options(): Map<string, OptionValue> {
    const options = new Map<string, OptionValue>();
    do {
      const name = this.optionName();
      this.expect('=');
      options.set(name, this.optionValue());
    } while (this.accept(','));
    this.expect(']');
    return options;
  }

  private optionName(): string {
    if (!this.accept('(')) return this.identifier();
    const extension = this.identifier();
    this.expect(')');
    this.expect('.');
    return `(${extension}).${this.identifier()}`;
  }

  private optionValue(): OptionValue {
    const text = this.next();
    if (text.startsWith('"')) return text.slice(1, -1);
    if (text === 'true' || text === 'false') return text === 'true';
    return /^-?\d/.test(text) ? Number(text) : text;
  }

  private enumeration(scope: string): void {
    const name = scope + this.identifier();
    const values: { name: string; number: number }[] = [];
    this.expect('{');
    while (!this.accept('}')) {
      const value = this.next();
      if (value === ';') continue;
      if (value === 'reserved') {
        this.skipStatement();
        continue;
      }
      this.expect('=');
      values.push({ name: value, number: this.integer() });
      this.expect(';');
    }
    this.definitions.push({ kind: 'enum', name, values });
  }

  private checkUnique(message: string, fields: readonly ProtoField[]): void {
    for (const key of ['name', 'number'] as const) {
      const seen = new Set<string | number>();
      for (const field of fields) {
        if (seen.has(field[key])) this.fail(`message ${message} has the field ${key} ${field[key]} twice`);
        seen.add(field[key]);
      }
    }
  }

  private skipStatement(): void {
    while (this.next() !== ';');
  }

  private skipBlock(): void {
    while (this.next() !== '{');
    while (this.next() !== '}');
  }

  private next(): string {
    const token = this.tokens[this.position];
    if (token === undefined) return this.fail('unexpected end of file');
    this.position++;
    return token.text;
  }

  private accept(text: string): boolean {
    if (this.tokens[this.position]?.text !== text) return false;
    this.position++;
    return true;
  }

  private expect(text: string): void {
    const found = this.next();
    if (found !== text) this.fail(`'${text}' expected, but '${found}' found`);
  }

  private identifier(): string {
    const text = this.next();
    if (!/^[A-Za-z_][\w.]*$/.test(text)) this.fail(`a name expected, but '${text}' found`);
    return text;
  }

  private integer(): number {
    const text = this.next();
    if (!/^-?\d/.test(text)) this.fail(`a number expected, but '${text}' found`);
    return Number(text);
  }

  private quoted(): string {
    const text = this.next();
    if (!text.startsWith('"')) this.fail(`a quoted string expected, but '${text}' found`);
    return text.slice(1, -1);
  }

  private fail(problem: string): never {
    const token = this.tokens[Math.min(this.position, this.tokens.length) - 1] ?? this.tokens[0];
    throw new Error(`${this.fileName}:${token?.line ?? 1}: ${problem}`);
  }
}
