import { expect, test } from 'bun:test';
import { CriuError, CriuErrors, SyscallError } from '../base/errors.ts';
import { LogSink } from '../base/log.ts';
import { CriuReqType } from '../image/gen/rpc.ts';
import { failureResponse } from './failure-response.ts';

const { DUMP } = CriuReqType;

function respond(error: unknown, hasBegun: boolean): [number | undefined, string | undefined] {
  const sink = new LogSink((_, bytes) => bytes.length);
  sink.open(9);
  const { type, success, cr_errno, cr_errmsg } = failureResponse(DUMP, error, sink, { command: 'dump', hasBegun });
  expect({ type, success }).toEqual({ type: DUMP, success: false });
  return [cr_errno, cr_errmsg];
}

test('the number is that of the error, of its cause, or of the request', () => {
  const EACCES = new SyscallError('open', 13, 'EACCES');
  expect(respond(new CriuError({ action: 'a', crErrno: 3 }), true)[0]).toBe(3);
  expect(respond(new CriuError({ action: 'a', cause: EACCES }), true)[0]).toBe(13);
  expect(respond(new CriuErrors('s', [{ action: 'a' }, { action: 'b', crErrno: 17 }]), true)[0]).toBe(17);
  expect(respond(EACCES, true)[0]).toBe(13);
  expect(respond(new CriuError({ action: 'a' }), false)[0]).toBe(56);
  expect(respond(new CriuError({ action: 'a' }), true)[0]).toBe(5);
  expect(respond(new Error('a'), true)[0]).toBe(5);
});

test('the text is the first error of the log', () => {
  const errors = new CriuErrors('the tree cannot be dumped', [{ action: 'first' }, { action: 'second' }]);
  expect(respond(errors, true)[1]).toBe('Error (dump): first');
  expect(respond(new CriuError({ action: 'wrong' }), false)[1]).toBe('Error (rpc): wrong');
  expect(respond(new Error('−1'), true)[1]).toBe('Error (dump): Dumping FAILED. bug in criu: \xe2\x88\x921');
});
