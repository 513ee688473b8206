import { expect, test } from 'bun:test';
import { O_CLOEXEC, O_NONBLOCK } from '../abi/fcntl.ts';
import { withDescriptorLimit } from './descriptor-limit.test-support.ts';
import { close } from './fs.ts';
import { closeInBackground } from './messages.ts';
import { pipe2, tryRead } from './pipe.ts';

test('what is closed in the background is closed soon', async () => {
  const [reader, writer] = pipe2(O_CLOEXEC | O_NONBLOCK);
  closeInBackground(writer);
  const isOpen = () => tryRead(reader, new Uint8Array(1)) !== 0;
  for (let waited = 0; isOpen() && waited < 5000; waited += 5) await Bun.sleep(5);
  expect(isOpen()).toBeFalse();
  close(reader);
});

test('it is closed at once where there can be no more descriptors', () => {
  const [reader, writer] = pipe2(O_CLOEXEC | O_NONBLOCK);
  withDescriptorLimit(0, () => closeInBackground(writer));
  expect(tryRead(reader, new Uint8Array(1))).toBe(0);
  close(reader);
});
