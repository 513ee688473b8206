import { expect, test } from 'bun:test';
import { decode, encode } from '../image/codec.ts';
import { CriuOpts } from '../image/gen/rpc.ts';
import { toCriuOpts, toText } from './request-options.ts';

test('options become a message that has all it must have', () => {
  const opts = toCriuOpts({ images_dir: '/img', tcp_established: true, external: ['tty[1:2]'] });
  expect(decode(CriuOpts, encode(CriuOpts, opts), 'opts')).toEqual({
    ...decode(CriuOpts, encode(CriuOpts, toCriuOpts({})), 'opts'),
    images_dir: '/img',
    tcp_established: true,
    external: ['tty[1:2]'],
  });
});

test('texts become bytes, wherever they are, and come back', () => {
  const { images_dir, ext_mnt } = toCriuOpts({ images_dir: '/ä', ext_mnt: [{ key: 'ö', val: '€' }] });
  expect({ images_dir, ext_mnt }).toEqual({
    images_dir: '/\xc3\xa4',
    ext_mnt: [{ key: '\xc3\xb6', val: '\xe2\x82\xac' }],
  });
  expect(toText('/\xc3\xa4')).toBe('/ä');
});

test('what one caller adds is not there for the next', () => {
  toCriuOpts({}).external.push('x');
  expect(toCriuOpts({}).external).toEqual([]);
});
