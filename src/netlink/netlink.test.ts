import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { attribute, attributeTypes, firstError, message, nested, parseAnswers, text, u32 } from './netlink.ts';

describe('netlink messages', () => {
  test('an attribute has its length without the padding', () => {
    expect([...attribute(3, text('lo'))]).toEqual([7, 0, 3, 0, 0x6c, 0x6f, 0, 0]);
  });

  test('a message starts with its own length, type, flags and sequence', () => {
    expect([...message(18, 1, 7, u32(-1)).subarray(0, 12)]).toEqual([20, 0, 0, 0, 18, 0, 1, 0, 7, 0, 0, 0]);
  });

  test('what was built is parsed again', () => {
    const body = nested(1, attribute(2, u32(5)), attribute(37, u32(6)));
    const [answer] = parseAnswers(message(16, 0, 9, body));
    expect(answer).toMatchObject({ type: 16, sequence: 9 });
    expect(attributeTypes(answer?.payload ?? new Uint8Array(), 0)).toEqual([1]);
    expect(attributeTypes(answer?.payload ?? new Uint8Array(), 4)).toEqual([2, 37]);
  });

  test('the first error wins over acknowledgements', () => {
    const answers = parseAnswers(message(2, 0, 1, u32(0)));
    expect(firstError(answers)).toBe(0);
    expect(firstError([...answers, ...parseAnswers(message(2, 0, 2, u32(-22)))])).toBe(-22);
    expect(firstError(parseAnswers(message(3, 0, 1)))).toBeUndefined();
  });

  test('garbage neither hangs nor throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const { payload } of parseAnswers(bytes)) attributeTypes(payload, 0);
      }),
    );
  });
});
