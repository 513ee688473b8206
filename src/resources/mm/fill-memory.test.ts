import { expect, test } from 'bun:test';
import { MappedFile } from './fill-memory.ts';

test('a pages image that a damaged pagemap names is missed by its name', () => {
  expect(() => new MappedFile('/nonexistent/pages-7.img')).toThrow(
    '/nonexistent/pages-7.img: cannot be opened: ENOENT: the memory content is not there',
  );
});
