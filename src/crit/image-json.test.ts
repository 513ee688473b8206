import { describe, expect, test } from 'bun:test';
import fc, { type Arbitrary } from 'fast-check';
import { GhostChunkEntry, GhostFileEntry } from '../image/gen/ghost-file.ts';
import { IpcMsg } from '../image/gen/ipc-msg.ts';
import { PagemapHead } from '../image/gen/pagemap.ts';
import type { ImageError } from '../image/image-error.ts';
import {
  type ContentOf,
  IMAGE_KINDS,
  type ImageKind,
  type ImageKindName,
  type PayloadKind,
} from '../image/image-kinds.ts';
import { arbitraryMessage } from '../image/message-arbitrary.test-support.ts';
import { serializeImage } from '../image/serialize-image.ts';
import { ArraySink, arraySource, type ByteSource } from './byte-stream.ts';
import { type DecodeOptions, decodeImage, readImageInfo } from './decode-image.ts';
import { encodeImage } from './encode-image.ts';

const PLAIN: DecodeOptions = { isPretty: false, hasNoPayload: false, endsWithNewline: false };
const PRETTY = { ...PLAIN, isPretty: true };

function decodeText(bytes: Uint8Array, options = PLAIN, source: ByteSource = arraySource(bytes)): string {
  const sink = new ArraySink();
  decodeImage(source, 'test.img', sink, options);
  return Buffer.from(sink.bytes).toString('latin1');
}

function encodeText(text: string, warnings: string[] = []): Uint8Array {
  const sink = new ArraySink();
  encodeImage(arraySource(Buffer.from(text)), 'test.json', sink, { warn: (line) => warnings.push(line) });
  return new Uint8Array(sink.bytes);
}

/** One byte at a time: nothing may depend on where pieces begin. */
function slowSource(bytes: Uint8Array): ByteSource {
  let position = 0;
  return { read: () => bytes.slice(position, ++position) };
}

/** Any content of an image that has messages. */
function arbitraryContent(name: ImageKindName): Arbitrary<unknown> | undefined {
  const spec: ImageKind = IMAGE_KINDS[name];
  switch (spec.layout) {
    case 'raw':
      return undefined;
    case 'entries':
      return fc.array(arbitraryMessage(spec.type), { maxLength: 3 });
    case 'payload':
      return fc.array(arbitraryPayload(spec), { maxLength: 3 });
    case 'pagemap':
      return fc.record({
        head: arbitraryMessage(PagemapHead),
        entries: fc.array(arbitraryMessage(spec.type), { maxLength: 3 }),
      });
    case 'ghost-file':
      return fc.oneof(
        fc.record({
          message: arbitraryMessage(GhostFileEntry).map((message) => ({ ...message, chunks: undefined })),
          payload: fc.uint8Array(),
        }),
        fc.record({
          message: arbitraryMessage(GhostFileEntry).map((message) => ({ ...message, chunks: true })),
          chunks: fc.array(
            fc.tuple(arbitraryMessage(GhostChunkEntry), fc.uint8Array()).map(([message, payload]) => ({
              message: { ...message, len: payload.length },
              payload,
            })),
          ),
        }),
      );
    case 'ipc-msg':
      return fc.array(
        fc
          .tuple(
            arbitraryMessage(spec.type),
            fc.array(
              fc.tuple(arbitraryMessage(IpcMsg), fc.uint8Array()).map(([message, payload]) => ({
                message: { ...message, msize: payload.length },
                payload,
              })),
              { maxLength: 3 },
            ),
          )
          .map(([message, messages]) => ({ message: { ...message, qnum: messages.length }, messages })),
        { maxLength: 3 },
      );
  }
}

/** Fields that say how many bytes follow are made small. */
function arbitraryPayload(spec: PayloadKind<unknown>): Arbitrary<unknown> {
  const lengths = ['bytes', 'length', 'inq_len', 'outq_len', 'keys_bytes', 'values_bytes', 'nsems', 'size'];
  return fc
    .tuple(arbitraryMessage(spec.type), fc.array(fc.nat(70), { minLength: 8, maxLength: 8 }))
    .chain(([message, sizes]) => {
      const small: Record<string, unknown> = { ...(message as object) };
      for (const [index, name] of lengths.entries()) if (name in small) small[name] = sizes[index];
      const length = spec.payloadLength(small);
      return fc.uint8Array({ minLength: length, maxLength: length }).map((payload) => ({ message: small, payload }));
    });
}

describe('images of every kind', () => {
  for (const name of Object.keys(IMAGE_KINDS) as ImageKindName[]) {
    const content = arbitraryContent(name);
    if (content === undefined) continue;
    test(`${name}: decode and encode give the same bytes`, () => {
      fc.assert(
        fc.property(content, (value) => {
          const bytes = serializeImage(name, value as ContentOf<typeof name>);
          for (const options of [PLAIN, PRETTY]) {
            const text = decodeText(bytes, options);
            JSON.parse(text);
            expect(Buffer.compare(encodeText(text), bytes)).toBe(0);
          }
        }),
        { numRuns: 25 },
      );
    });
  }
});

const PIPE_DATA = serializeImage('pipes-data', [
  { message: { pipe_id: 7, bytes: 60, size: 4096 }, payload: new Uint8Array(60).fill(65) },
  { message: { pipe_id: 8, bytes: 1536 }, payload: new Uint8Array(1536) },
]);

describe('decode', () => {
  test('writes the text that the crit of CRIU writes', () => {
    const bytes = serializeImage('fs', [{ cwd_id: 1, root_id: 2, umask: 18 }]);
    expect(decodeText(bytes)).toBe('{"magic": "FS", "entries": [{"cwd_id": 1, "root_id": 2, "umask": 18}]}');
    expect(decodeText(bytes, { ...PRETTY, endsWithNewline: true })).toBe(
      [
        '{',
        '    "magic": "FS",',
        '    "entries": [',
        '        {',
        '            "cwd_id": 1,',
        '            "root_id": 2,',
        '            "umask": 18',
        '        }',
        '    ]',
        '}\n',
      ].join('\n'),
    );
    expect(decodeText(serializeImage('fs', []), PRETTY)).toBe('{\n    "magic": "FS",\n    "entries": []\n}');
  });

  test('breaks base64 into lines of 76 chars', () => {
    const line = 'QUFB'.repeat(19);
    expect(JSON.parse(decodeText(PIPE_DATA)).entries[0].extra).toBe(`${line}\nQUFB\n`);
  });

  test('shows sizes instead of data when asked to', () => {
    const { entries } = JSON.parse(decodeText(PIPE_DATA, { ...PRETTY, hasNoPayload: true }));
    expect(entries.map(({ extra }: { extra: string }) => extra)).toEqual(['... <60B>', '... <1.5KB>']);
  });

  test('does not lose digits of large numbers', () => {
    const bytes = serializeImage('vmas', [
      {
        start: 0xffff_ffff_ff60_0000,
        end: 0xffff_ffff_ff60_1000,
        pgoff: 0,
        shmid: 0,
        prot: 5,
        flags: 0x22,
        status: 0x8000_0004,
        fd: -1,
      },
    ]);
    expect(decodeText(bytes)).toContain('"start": 18446744073699065856, "end": 18446744073699069952,');
    const [vma] = JSON.parse(decodeText(bytes, PRETTY)).entries;
    expect(vma).toEqual({
      start: '0xffffffffff600000',
      end: '0xffffffffff601000',
      pgoff: 0,
      shmid: 0,
      prot: 'PROT_READ | PROT_EXEC',
      flags: 'MAP_PRIVATE | MAP_ANON',
      status: 'VMA_AREA_VSYSCALL | VMA_UNSUPP',
      fd: -1,
    });
  });

  test('marks images of version 1, which have one magic only', () => {
    const bytes = serializeImage('fs', [{ cwd_id: 1, root_id: 2 }]).slice(4);
    const text = decodeText(bytes);
    expect(text).toBe('{"magic": "FS", "img_version": 1, "entries": [{"cwd_id": 1, "root_id": 2}]}');
    expect(encodeText(text)).toEqual(bytes);
  });

  test('keeps fields that it does not know, and those that only we have', () => {
    const fs = serializeImage('fs', [{ cwd_id: 1, root_id: 2 }]);
    const bytes = new Uint8Array([...fs.slice(0, 8), 7, 0, 0, 0, 8, 1, 16, 2, 0xf8, 0x07, 9]);
    const text = decodeText(bytes);
    expect(JSON.parse(text).entries[0]).toEqual({ cwd_id: 1, root_id: 2, unknown_fields: '+AcJ\n' });
    expect(encodeText(text)).toEqual(bytes);
  });

  test('needs no more than a piece at a time', () => {
    expect(decodeText(PIPE_DATA, PLAIN, slowSource(PIPE_DATA))).toBe(decodeText(PIPE_DATA));
  });

  test('names file, entry and field of what is damaged', () => {
    const fail = (bytes: Uint8Array) => {
      try {
        decodeText(bytes);
      } catch (error) {
        return (error as ImageError).message;
      }
      return 'no error';
    };
    expect(fail(PIPE_DATA.slice(0, -1))).toBe(
      'test.img: entry 1: the file is truncated: the data after the entry has 1536 bytes, but only 1535 are left',
    );
    expect(fail(new Uint8Array([...PIPE_DATA.slice(0, 8), 2, 0, 0, 0, 8, 7]))).toBe(
      'test.img: entry 0: bytes: required field is missing',
    );
    expect(fail(new Uint8Array())).toBe('test.img: the file is empty');
    expect(fail(new Uint8Array([...PIPE_DATA.slice(0, 8), 255, 255, 255, 255]))).toBe(
      'test.img: entry 0: the entry has 4294967295 bytes, which is more than any has',
    );
    expect(fail(new TextEncoder().encode('some text'))).toStartWith(
      'test.img: Unknown magic 0x656d6f73: this is no image',
    );
  });
});

describe('info', () => {
  test('counts entries, not what follows them', () => {
    expect(readImageInfo(arraySource(PIPE_DATA), 'test.img')).toEqual({ magic: 'PIPES_DATA', count: 2 });
    const pagemap = serializeImage('pagemap', {
      head: { pages_id: 1 },
      entries: [{ vaddr: 4096, compat_nr_pages: 1 }],
    });
    expect(readImageInfo(arraySource(pagemap), 'test.img')).toEqual({ magic: 'PAGEMAP', count: 1 });
  });
});

describe('encode', () => {
  const fail = (text: string): string => {
    try {
      encodeText(text);
    } catch (error) {
      return (error as Error).message;
    }
    return 'no error';
  };

  test('says what is wrong with the JSON', () => {
    const fs = (entry: string) => `{"magic": "FS", "entries": [${entry}]}`;
    const texts: Record<string, string> = {
      '': 'test.json: byte 0: this is not the JSON of an image: the JSON ends too early',
      '[]': "test.json: byte 0: this is not the JSON of an image: '{' is expected, not '['",
      '{"entries": []}': 'test.json: the JSON has no magic',
      '{"magic": "FS"}': 'test.json: the JSON has no list of entries',
      '{"magic": "NONE", "entries": []}': 'test.json: there is no image with the magic "NONE"',
      [fs('3')]: 'test.json: entry 0: this is not an object',
      [fs('{"cwd_id": 1}')]: 'test.json: entry 0: root_id: required field is missing',
      [fs('{"cwd_id": "x", "root_id": 1}')]: 'test.json: entry 0: cwd_id: "x" is not a number',
      [fs('{"cwd_id": -1, "root_id": 1}')]: 'test.json: entry 0: cwd_id: -1 is not an integer of 0 to 4294967295',
      [fs('{"cwd_id": 1.5, "root_id": 1}')]:
        "test.json: byte 42: this is not the JSON of an image: '1.5' is not a value that images have",
      '{"magic": "PIPES_DATA", "entries": [{"pipe_id": 1, "bytes": 3, "extra": "AAAA"}, {"pipe_id": 1, "bytes": 4, "extra": "AAAA"}]}':
        'test.json: entry 1: extra: 3 bytes of data where the entry says 4',
      '{"magic": "PIPES_DATA", "entries": [{"pipe_id": 1, "bytes": 3, "extra": "... <3B>"}]}':
        'test.json: entry 0: extra: this is not base64',
    };
    for (const [text, message] of Object.entries(texts)) expect([text, fail(text)]).toEqual([text, message]);
  });

  test('leaves out what is no field, with a warning', () => {
    const warnings: string[] = [];
    const bytes = encodeText(
      '{"magic": "FS", "note": 1, "entries": [{"cwd_id": 1, "root_id": 2, "cwd": "/"}]}',
      warnings,
    );
    expect(bytes).toEqual(serializeImage('fs', [{ cwd_id: 1, root_id: 2 }]));
    expect(warnings).toEqual([
      'test.json: note is not a part of an image; it is left out',
      'test.json: entry 0: cwd is not a field; it is left out',
    ]);
  });

  test('takes the magic after the entries', () => {
    const text = '{"entries": [{"cwd_id": 1, "root_id": 2}], "magic": "FS"}';
    expect(encodeText(text)).toEqual(serializeImage('fs', [{ cwd_id: 1, root_id: 2 }]));
  });

  test('ends with an error on any text', () => {
    const valid = decodeText(PIPE_DATA);
    fc.assert(
      fc.property(fc.nat(valid.length), fc.string({ maxLength: 3 }), (position, garbage) => {
        const message = fail(valid.slice(0, position) + garbage + valid.slice(position + 1));
        expect(message).not.toStartWith('bug');
      }),
    );
  });
});

describe('saved netlink messages', () => {
  const message = (length: number, ...more: number[]) => [
    length,
    0,
    0,
    0,
    20,
    0,
    2,
    0,
    9,
    0,
    0,
    0,
    7,
    0,
    0,
    0,
    ...more,
  ];
  const image = new Uint8Array([0x22, 0x12, 0x36, 0x47, ...message(19, 1, 2, 3, 0), ...message(16)]);

  test('are entries of their own', () => {
    const text = decodeText(image);
    expect(JSON.parse(text)).toEqual({
      magic: 'IFADDR',
      entries: [
        { nlmsg_type: 20, nlmsg_flags: 2, nlmsg_seq: 9, nlmsg_pid: 7, extra: 'AQID\n' },
        { nlmsg_type: 20, nlmsg_flags: 2, nlmsg_seq: 9, nlmsg_pid: 7, extra: '' },
      ],
    });
    expect(encodeText(text)).toEqual(image);
    expect(encodeText(decodeText(image, PRETTY))).toEqual(image);
    expect(decodeText(image, PRETTY)).toContain('"nlmsg_type": "RTM_NEWADDR"');
    expect(readImageInfo(arraySource(image), 'x')).toEqual({ magic: 'IFADDR', count: 2 });
  });

  test('may be damaged', () => {
    expect(() => decodeText(image.slice(0, -1))).toThrow('test.img: entry 1: the file is truncated');
    const short = new Uint8Array([0x22, 0x12, 0x36, 0x47, ...message(15)]);
    expect(() => decodeText(short)).toThrow('test.img: entry 0: the netlink message is shorter than its header');
    expect(() => encodeText('{"magic": "RULE", "entries": [{"nlmsg_type": 70000}]}')).toThrow(
      'test.json: entry 0: this is no netlink message',
    );
  });
});
