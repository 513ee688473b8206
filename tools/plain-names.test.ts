import { expect, test } from 'bun:test';
import { resolve } from 'node:path';
import { withPlainNames } from './plain-names.ts';

test('private names are ordinary ones, of their class', () => {
  const text = `
export class First {
  readonly #fd: number;
  static #made = 0;
  async *#walk() { yield this.#fd; }
  get #isOpen() { return this.#fd >= 0 && First.#made++ > 0; }
  end(other?: First) { return other?.#fd; }
}
abstract class Second {
  #fd = '#fd'; // the # of a script: #!/bin/sh
}`;
  expect(withPlainNames(text)).toBe(`
export class First {
  readonly $First_fd: number;
  static $First_made = 0;
  async *$First_walk() { yield this.$First_fd; }
  get $First_isOpen() { return this.$First_fd >= 0 && First.$First_made++ > 0; }
  end(other?: First) { return other?.$First_fd; }
}
abstract class Second {
  $Second_fd = '#fd'; // the # of a script: #!/bin/sh
}`);
});

test('of the sources no private name is left, and nothing outside of classes is changed', async () => {
  const root = resolve(import.meta.dir, '../src');
  for (const path of new Bun.Glob('**/*.ts').scanSync(root)) {
    if (path.includes('.test.')) continue;
    const text = await Bun.file(resolve(root, path)).text();
    const plain = withPlainNames(text);
    expect([path, /\.#[a-zA-Z]\w*/.exec(plain)]).toEqual([path, null]);
    if (!/^(export )?(abstract )?class /m.test(text)) expect(plain).toBe(text);
    // Were a declaration forgotten, the name would be declared no more.
    for (const [, name] of plain.matchAll(/\.(\$[A-Z]\w*_\w+)/g)) {
      expect([path, plain.includes(` ${name}`) || plain.includes(`*${name}`)]).toEqual([path, true]);
    }
  }
});
