import { describe, expect, test } from 'bun:test';
import { LOG_DEBUG, LOG_INFO, LogSink, timestamp } from './log.ts';

/** A sink whose lines can be looked at, by descriptor. */
function recordingSink(): { sink: LogSink; text: (fd: number) => string; writes: () => number } {
  const written = new Map<number, string>();
  let count = 0;
  const sink = new LogSink((fd, bytes) => {
    count++;
    written.set(fd, (written.get(fd) ?? '') + Buffer.from(bytes).toString('latin1'));
    return bytes.length;
  });
  return { sink, text: (fd) => written.get(fd) ?? '', writes: () => count };
}

const withoutTime = (text: string): string => text.replace(/^\(\d\d\.\d{6}\) /gm, '(T) ');

describe('levels', () => {
  test('by default warnings and errors are written, without time', () => {
    const { sink, text } = recordingSink();
    sink.open(2);
    const log = sink.logger.child('dump/seize');
    log.error('task 7 is gone');
    log.warn('slow');
    log.info('not shown');
    log.debug('not shown');
    expect(text(2)).toBe('Error (dump/seize): task 7 is gone\nWarn  (dump/seize): slow\n');
  });

  test('from level 3 every line has the time, and information its module', () => {
    const { sink, text } = recordingSink();
    sink.setLevel(LOG_INFO);
    sink.open(2);
    const log = sink.logger.child('dump/seize');
    log.error('x');
    log.info('7 tasks stand');
    sink.logger.info('Version: 1');
    expect(withoutTime(text(2))).toBe('(T) Error (dump/seize): x\n(T) seize: 7 tasks stand\n(T) Version: 1\n');
  });

  test('level 0 writes messages only', () => {
    const { sink, text } = recordingSink();
    sink.setLevel(0);
    sink.open(2);
    sink.logger.error('x');
    sink.logger.message('Looks good.');
    expect(text(2)).toBe('');
    expect(text(1)).toBe('Looks good.\n');
  });

  test('more than 4 is 4, less than 0 is 0', () => {
    const { sink } = recordingSink();
    sink.setLevel(19);
    expect(sink.level).toBe(4);
    sink.setLevel(-3);
    expect(sink.level).toBe(0);
  });

  test('isEnabled tells what would be written', () => {
    const { sink } = recordingSink();
    expect(sink.logger.isEnabled(LOG_DEBUG)).toBe(true);
    sink.open(2);
    expect(sink.logger.isEnabled(LOG_DEBUG)).toBe(false);
    expect(sink.logger.child('x').isEnabled(2)).toBe(true);
  });
});

describe('before the log is open', () => {
  test('lines are kept and get the time zero when it opens', () => {
    const { sink, text } = recordingSink();
    sink.logger.info('early');
    sink.logger.error('bad');
    sink.logger.debug('not at this level');
    expect(text(2)).toBe('');
    sink.setLevel(LOG_INFO);
    sink.open(2);
    expect(text(2)).toBe('(00.000000) early\n(00.000000) Error (criu): bad\n');
  });

  test('without time below level 3', () => {
    const { sink, text } = recordingSink();
    sink.logger.error('bad');
    sink.open(2);
    expect(text(2)).toBe('Error (criu): bad\n');
  });
});

describe('lines', () => {
  test('a text with line feeds becomes one line', () => {
    const { sink, text } = recordingSink();
    sink.open(2);
    sink.logger.error('a\nb');
    expect(text(2)).toBe('Error (criu): a b\n');
  });

  test('are written byte for byte', () => {
    const bytes: number[] = [];
    const sink = new LogSink((_fd, chunk) => {
      bytes.push(...chunk);
      return chunk.length;
    });
    sink.open(2);
    sink.logger.error('\xff\xc3\xa9');
    expect(bytes.slice(-4)).toEqual([0xff, 0xc3, 0xa9, 0x0a]);
  });

  test('the first error is kept, cut to what RPC carries', () => {
    const { sink } = recordingSink();
    sink.open(2);
    expect(sink.firstError).toBeUndefined();
    sink.logger.warn('w');
    sink.logger.child('dump').error('a'.repeat(2000));
    sink.logger.error('second');
    expect(sink.firstError).toHaveLength(1023);
    expect(sink.firstError?.startsWith('Error (dump): aaa')).toBe(true);
  });
});

describe('buffering', () => {
  test('debug lines wait, everything else takes them along in order', () => {
    const { sink, text, writes } = recordingSink();
    sink.setLevel(LOG_DEBUG);
    sink.open(2);
    sink.logger.debug('one');
    sink.logger.debug('two');
    expect(writes()).toBe(0);
    sink.logger.info('three');
    expect(writes()).toBe(1);
    expect(withoutTime(text(2))).toBe('(T) one\n(T) two\n(T) three\n');
  });

  test('flush writes what waits', () => {
    const { sink, text } = recordingSink();
    sink.setLevel(LOG_DEBUG);
    sink.open(2);
    sink.logger.debug('one');
    sink.logger.flush();
    expect(withoutTime(text(2))).toBe('(T) one\n');
  });

  test('never more than 64 KiB waits', () => {
    const { sink, text } = recordingSink();
    sink.setLevel(LOG_DEBUG);
    sink.open(2);
    for (let i = 0; i < 70; i++) sink.logger.debug('x'.repeat(1000));
    expect(text(2).length).toBeGreaterThan(64 * 1024);
  });
});

describe('a descriptor that does not take everything', () => {
  test('a short write is continued', () => {
    let got = '';
    const sink = new LogSink((_fd, bytes) => {
      const part = bytes.subarray(0, 3);
      got += Buffer.from(part).toString('latin1');
      return part.length;
    });
    sink.open(2);
    sink.logger.error('abcdefgh');
    expect(got).toBe('Error (criu): abcdefgh\n');
  });

  test('a full pipe is tried again', () => {
    let failures = 2;
    let got = '';
    const sink = new LogSink((_fd, bytes) => {
      if (failures-- > 0) return -11;
      got += Buffer.from(bytes).toString('latin1');
      return bytes.length;
    });
    sink.open(2);
    sink.logger.error('x');
    expect(got).toBe('Error (criu): x\n');
  });

  test('a full disk does not fail the caller', () => {
    const sink = new LogSink(() => -28);
    sink.open(2);
    expect(() => sink.logger.error('x')).not.toThrow();
  });
});

test('the time is always 12 chars, as in CRIU', () => {
  expect(timestamp(0)).toBe('(00.000000) ');
  expect(timestamp(1.234)).toBe('(00.001234) ');
  expect(timestamp(61_000.5)).toBe('(61.000500) ');
  expect(timestamp(123_456.789)).toBe('(123.45678) ');
});
