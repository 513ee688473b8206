/** crit with images of real programs: they survive decode and encode, are found whole, and can be compared. */
import { expect } from 'bun:test';
import { ArraySink, arraySource } from '../../src/crit/byte-stream.ts';
import { decodeImage } from '../../src/crit/decode-image.ts';
import { encodeImage } from '../../src/crit/encode-image.ts';
import { criuBinary } from '../harness/criu-command.ts';
import { checkRound, dump, expectSuccess, makeImagesDir, startProgram } from '../harness/harness.ts';
import { liveCase } from '../harness/live-test.ts';
import { makeImageSets } from './fuzz-images.ts';

function crit(...args: string[]) {
  const { exitCode, stdout, stderr } = Bun.spawnSync([criuBinary, 'crit', ...args]);
  return {
    status: exitCode,
    lines: stdout.toString('latin1').split('\n').slice(0, -1),
    stderr: stderr.toString('latin1'),
  };
}

/** Decodes and encodes again. */
function roundTrip(bytes: Uint8Array, name: string, isPretty: boolean): Uint8Array {
  const text = new ArraySink();
  decodeImage(arraySource(bytes), name, text, { isPretty, hasNoPayload: false, endsWithNewline: true });
  const image = new ArraySink();
  encodeImage(arraySource(text.bytes), name, image, {
    warn(warning) {
      throw new Error(warning);
    },
  });
  return image.bytes;
}

liveCase('images of real programs survive decode and encode, and are found whole', async () => {
  const sets = await makeImageSets([
    'tree',
    'signals',
    'ghost',
    'pipes',
    'events',
    'memfds',
    'unix-sockets',
    'mem-sysv',
  ]);
  for (const { name, folder, files } of sets) {
    for (const [file, bytes] of files) {
      if (file.startsWith('pages-')) continue;
      for (const isPretty of [false, true]) {
        const isSame = Buffer.compare(roundTrip(bytes, file, isPretty), bytes) === 0;
        expect(`${name}: ${file}: ${isSame}`).toBe(`${name}: ${file}: true`);
      }
    }
    const { status, lines } = crit('verify', folder);
    expect([name, status, lines.at(-1)]).toEqual([name, 0, expect.stringMatching(/images, \d+ tasks?, no problems$/)]);
    expect(crit('tree', folder).status).toBe(0);
  }
});

liveCase('two dumps of a program differ in what it has done in between', async () => {
  const specimen = await startProgram('mem-private');
  const [first, second] = [makeImagesDir(specimen, 'first'), makeImagesDir(specimen, 'second')];
  expectSuccess(await dump(specimen, first, ['-R']));
  expect(crit('diff', first, first)).toEqual({ status: 0, lines: [], stderr: '' });
  await checkRound(specimen, 1);
  expectSuccess(await dump(specimen, second, ['-R']));
  const { status, lines } = crit('diff', first, second);
  expect(status).toBe(1);
  expect(lines.join('\n')).toMatch(new RegExp(`pagemap-${specimen.pid}.img: \\d+ pages? .* with other content`));
  expect(crit('diff', first, `${first}/nothing`).status).toBe(2);
});
