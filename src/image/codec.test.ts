import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import { AlikeImages } from './alike-images.ts';
import { decode, encode, keepEncoded } from './codec.ts';
import { ApparmorEntry } from './gen/apparmor.ts';
import { CgroupEntry } from './gen/cgroup.ts';
import { CoreEntry } from './gen/core.ts';
import { FdinfoEntry } from './gen/fdinfo.ts';
import { PagemapEntry } from './gen/pagemap.ts';
import { PstreeEntry } from './gen/pstree.ts';
import { RemapFilePathEntry } from './gen/remap-file-path.ts';
import { RlimitEntry } from './gen/rlimit.ts';
import { CriuReq } from './gen/rpc.ts';
import { SkOptsEntry } from './gen/sk-opts.ts';
import { UtsnsEntry } from './gen/utsns.ts';
import { VmaEntry } from './gen/vma.ts';
import { ImageError } from './image-error.ts';
import { parseImage } from './image-file.ts';
import { IMAGE_KINDS } from './image-kinds.ts';
import { arbitraryMessage } from './message-arbitrary.test-support.ts';
import { type MessageType, UNKNOWN_FIELDS } from './message-type.ts';
import { serializeImage } from './serialize-image.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const bytes = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

const PSTREE: PstreeEntry = { pid: 12, ppid: 0, pgid: 300, sid: 300, threads: [12, 13] };
const PSTREE_HEX = '080c1000 18ac02 20ac02 280c 280d'.replaceAll(' ', '');

const VMA: VmaEntry = {
  start: 0x7f00_1234_5000,
  end: 0x7f00_1234_6000,
  pgoff: 0,
  shmid: 0,
  prot: 3,
  flags: 0x22,
  status: 0x201,
  fd: -1,
};

const REGISTERS = {
  r15: 1n, r14: 2n, r13: 3n, r12: 4n, bp: 5n, bx: 6n, r11: 7n, r10: 8n, r9: 9n, r8: 10n, ax: 11n, cx: 12n, dx: 13n, si: 14n,
  di: 15n, orig_ax: 16n, ip: 17n, cs: 18n, flags: 19n, sp: 20n, ss: 21n, fs_base: 22n, gs_base: 23n, ds: 24n, es: 25n,
  fs: 26n, gs: 27n,
}; // biome-ignore format: a table
const FPREGS = {
  cwd: 1, swd: 2, twd: 3, fop: 4, rip: 5n, rdp: 6n, mxcsr: 7, mxcsr_mask: 8, st_space: [1], xmm_space: [2], padding: [],
}; // biome-ignore format: a table
const SEGMENT = {
  entry_number: 1, base_addr: 0, limit: 0, seg_32bit: false, contents_h: false, contents_l: false, read_exec_only: true,
  limit_in_pages: false, seg_not_present: true, usable: false,
}; // biome-ignore format: a table
const INFO = { clear_tid_addr: 1n, gpregs: REGISTERS, fpregs: FPREGS, tls: [], xstate_ext: [] };

describe('encoding', () => {
  test('writes fields in the order of their numbers', () => {
    expect(hex(encode(PstreeEntry, PSTREE))).toBe(PSTREE_HEX);
    expect(decode(PstreeEntry, bytes(PSTREE_HEX), 'x')).toEqual(PSTREE);
  });

  test('writes negative numbers as protobuf does: sint32 in zigzag, int32 with ten bytes', () => {
    expect(hex(encode(VmaEntry, VMA)).slice(-4)).toBe('4001');
    const request: CriuReq = { type: 1, opts: { ...emptyOptions(), images_dir_fd: -1 } };
    expect(hex(encode(CriuReq, request))).toBe(`0801120b08${'ff'.repeat(9)}01`);
    expect(decode(CriuReq, encode(CriuReq, request), 'x')).toEqual(request);
  });

  test('writes a nested message of more than 127 bytes with a longer length', () => {
    const cnames = ['x'.repeat(300)];
    const entry: CgroupEntry = { sets: [], controllers: [{ cnames, dirs: [] }] };
    expect(hex(encode(CgroupEntry, entry)).slice(0, 14)).toBe('12af020aac0278');
    expect(decode(CgroupEntry, encode(CgroupEntry, entry), 'x')).toEqual(entry);
  });

  test('writes every zero of a list', () => {
    const entry: PstreeEntry = { ...PSTREE, threads: [0, 300, 0, -0] };
    const written = encode(PstreeEntry, entry);
    expect(hex(written)).toBe('080c100018ac0220ac02280028ac0228002800');
    expect(decode(PstreeEntry, written, 'x').threads).toEqual([0, 300, 0, 0]);
  });

  test('leaves out optional fields that are undefined', () => {
    expect(hex(encode(CriuReq, { type: 3, opts: undefined }))).toBe('0803');
  });

  test('refuses what the schema cannot hold', () => {
    const fails = <T>(type: MessageType<T>, value: unknown, message: string) =>
      expect(() => encode(type, value as T, 'x.img')).toThrow(new Error(message));
    fails(PstreeEntry, { ...PSTREE, pid: undefined }, 'x.img: pid: required field is missing');
    fails(PstreeEntry, { ...PSTREE, pid: -1 }, 'x.img: pid: -1 is not an integer of 0 to 4294967295');
    fails(PstreeEntry, { ...PSTREE, pid: 1.5 }, 'x.img: pid: 1.5 is not an integer of 0 to 4294967295');
    fails(PstreeEntry, { ...PSTREE, pid: 7n }, 'x.img: pid: 7 is not an integer of 0 to 4294967295');
    fails(PstreeEntry, { ...PSTREE, threads: 1 }, 'x.img: threads: 1 is not an array');
    fails(PstreeEntry, { ...PSTREE, threads: [0n] }, 'x.img: threads[0]: 0 is not an integer of 0 to 4294967295');
    fails(PstreeEntry, { ...PSTREE, threads: [1, 'a'] }, 'x.img: threads[1]: "a" is not an integer of 0 to 4294967295');
    fails(VmaEntry, { ...VMA, start: -1 }, 'x.img: start: -1 is not an integer of 0 to 2^64-1');
    fails(VmaEntry, { ...VMA, fd: 2 ** 63 }, 'x.img: fd: 9223372036854776000 is not an integer of -2^63 to 2^63-1');
    fails(RlimitEntry, { cur: 1, max: 1n }, 'x.img: cur: 1 is not an integer of 0 to 2^64-1 as bigint');
    fails(
      RlimitEntry,
      { cur: 1n << 64n, max: 1n },
      `x.img: cur: ${1n << 64n} is not an integer of 0 to 2^64-1 as bigint`,
    );
    fails(
      UtsnsEntry,
      { nodename: 'ж', domainname: '' },
      'x.img: nodename: "ж" is not a byte string (chars of 1 to 255)',
    );
    fails(FdinfoEntry, { id: 1, flags: 0, type: 77, fd: 3 }, 'x.img: type: 77 is not a value of fd_types');
    fails(CriuReq, { type: 1, opts: 3 }, 'x.img: opts: 3 is not a message');
    fails(
      CgroupEntry,
      { sets: [{ id: 1, ctls: [{ name: 'a', path: 'b' }, { name: 'a' }] }], controllers: [] },
      'x.img: sets[0].ctls[1].path: required field is missing',
    );
  });
});

describe('decoding', () => {
  const fails = <T>(type: MessageType<T>, text: string, message: string) =>
    expect(() => decode(type, bytes(text), { file: 'x.img', entry: 2 })).toThrow(new Error(message));

  test('refuses a missing required field', () => {
    fails(PstreeEntry, '080c1000', 'x.img: entry 2: pgid: required field is missing');
    fails(CoreEntry, '0801 1a02 0801', 'x.img: entry 2: tc.exit_code: required field is missing');
    expect(() => decode(PstreeEntry, new Uint8Array(), 'reply')).toThrow('reply: pid: required field is missing');
  });

  test('refuses a missing required field of a message with more than 31 of them', () => {
    const mips = { ...registers(32), lo: 0n, hi: 0n, cp0_epc: 0n, cp0_badvaddr: 0n, cp0_status: 0n };
    const type = IMAGE_KINDS.core.type;
    const thread = { clear_tid_addr: 0n, tls: 0n, gpregs: { ...mips, cp0_cause: 1n }, fpregs: registers(32) };
    const core = {
      mtype: 6,
      ti_mips: { ...thread, fpregs: { ...registers(32), lo: 0n, hi: 0n, fpu_fcr31: 0, fpu_id: 0 } },
    };
    const encoded = encode(type, core as unknown as CoreEntry);
    expect(decode(type, encoded, 'x')).toEqual(core as unknown as CoreEntry);
    // The last required field of gpregs gets an unknown number instead.
    const damaged = Buffer.from(encoded);
    const position = damaged.indexOf(Buffer.from('b00201', 'hex'));
    damaged[position + 1] = 0x7f;
    expect(() => decode(type, damaged, 'x')).toThrow('x: ti_mips.gpregs.cp0_cause: required field is missing');
  });

  test('refuses a value that is not in a closed enum', () => {
    fails(FdinfoEntry, '0801 1000 184d 2003', 'x.img: entry 2: type: 77 is not a value of fd_types');
  });

  test('refuses the wrong wire type', () => {
    fails(PstreeEntry, '0a00', 'x.img: entry 2: pid: wire type length-delimited where varint is expected');
    fails(UtsnsEntry, '0801', 'x.img: entry 2: nodename: wire type varint where length-delimited is expected');
    fails(PstreeEntry, '2d00000000', 'x.img: entry 2: threads: wire type fixed32 where varint is expected');
  });

  test('refuses cut data', () => {
    fails(PstreeEntry, '08', 'x.img: entry 2: pid: the data ends inside a number');
    fails(PstreeEntry, '08ac', 'x.img: entry 2: pid: the data ends inside a number');
    fails(PstreeEntry, '80', 'x.img: entry 2: the data ends inside a number');
    fails(UtsnsEntry, '0a056162', 'x.img: entry 2: nodename: 5 bytes announced, but only 2 are left');
    fails(SkOptsEntry, '8101 00', 'x.img: entry 2: so_filter: the data ends inside a number');
    fails(UtsnsEntry, '3d000000', 'x.img: entry 2: field 7: the data ends inside a number');
  });

  test('refuses numbers that do not fit', () => {
    fails(PstreeEntry, `08${'80'.repeat(10)}`, 'x.img: entry 2: pid: a number is longer than 64 bits');
    fails(PstreeEntry, `08${'ff'.repeat(9)}02`, 'x.img: entry 2: pid: a number is longer than 64 bits');
    fails(PstreeEntry, '088080808010', 'x.img: entry 2: pid: the value 4294967296 does not fit in 32 bits');
    fails(VmaEntry, `08${'ff'.repeat(9)}01`, 'x.img: entry 2: start: the value 18446744073709551615 is too big');
    fails(CriuReq, '088080808010', 'x.img: entry 2: type: the value 4294967296 does not fit in 32 bits');
  });

  test('refuses groups and the field number 0', () => {
    fails(UtsnsEntry, '3b3c', "x.img: entry 2: field 7: wire type 'group start' is not used in images");
    fails(UtsnsEntry, '0000', 'x.img: entry 2: a field has the number 0');
  });

  test('refuses messages nested too deep', () => {
    let data = new Uint8Array();
    const wrap = (tag: number) => {
      data = new Uint8Array([tag, ...lengthBytes(data.length), ...data]);
    };
    for (let depth = 0; depth < 110; depth++) wrap(0x1a);
    wrap(0x0a);
    expect(() => decode(ApparmorEntry, data, 'x')).toThrow('messages are nested more than 100 deep');
  });

  test('the vsyscall mapping, beyond 2^53, is exact as a number', () => {
    const vma = { ...VMA, start: 0xffff_ffff_ff60_0000, end: 0xffff_ffff_ff60_1000 };
    const decoded = decode(VmaEntry, encode(VmaEntry, vma), 'x');
    expect(BigInt(decoded.start)).toBe(0xffffffffff600000n);
    expect(BigInt(decoded.end)).toBe(0xffffffffff601000n);
  });

  test('keeps 64-bit values that are not addresses as bigint', () => {
    const limits = { cur: (1n << 64n) - 1n, max: 1n };
    expect(decode(RlimitEntry, encode(RlimitEntry, limits), 'x')).toEqual(limits);
  });

  test('reads strings as bytes', () => {
    const name = Array.from({ length: 255 }, (_, index) => String.fromCharCode(index + 1)).join('');
    const entry: UtsnsEntry = { nodename: name, domainname: '\xc3\xa9' };
    expect(decode(UtsnsEntry, encode(UtsnsEntry, entry), 'x')).toEqual(entry);
  });

  test('refuses strings with a zero byte, which CRIU would cut there', () => {
    expect(() => decode(UtsnsEntry, bytes('0a03610062 1200'), 'x.img')).toThrow(
      'x.img: nodename: a text has a zero byte in it',
    );
  });

  test('accepts repeated numbers packed and not packed', () => {
    expect(decode(PstreeEntry, bytes('080c 1000 180c 200c 2a020c0d 280e'), 'x').threads).toEqual([12, 13, 14]);
    expect(decode(SkOptsEntry, bytes(`080010001800200028003000 8201 10 ${'01'.repeat(16)}`), 'x').so_filter).toEqual([
      0x0101010101010101n,
      0x0101010101010101n,
    ]);
  });

  test('the last one of a repeated scalar wins and messages are merged', () => {
    expect(decode(RemapFilePathEntry, bytes('0801 0802 1003'), 'x')).toEqual({ orig_id: 2, remap_id: 3 });
    const merged = decode(CriuReq, bytes('0801 1204 08011003 1204 0802 1801'), 'x');
    expect(merged.opts).toMatchObject({ images_dir_fd: 2, pid: 3, leave_running: true });
  });

  test('keeps unknown fields and writes them back', () => {
    const data = bytes(`${PSTREE_HEX} f80701 fa0702aabb f907 0102030405060708 fd07 01020304`);
    const decoded = decode(PstreeEntry, data, 'x');
    expect(decoded).toMatchObject(PSTREE);
    expect(Object.keys(decoded).sort()).toEqual(Object.keys(PSTREE).sort());
    expect(Object.getOwnPropertySymbols(decoded)).toEqual([UNKNOWN_FIELDS]);
    expect(hex(encode(PstreeEntry, decoded))).toBe(hex(data));
  });

  test('accepts an int32 that was not sign-extended', () => {
    expect(decode(CriuReq, bytes('0801 1206 08ffffffff0f'), 'x').opts?.images_dir_fd).toBe(-1);
  });

  test('reads within a part of a larger buffer', () => {
    const padded = bytes(`ffff${PSTREE_HEX}ffff`);
    expect(decode(PstreeEntry, padded.subarray(2, -2), 'x')).toEqual(PSTREE);
  });
});

describe('properties', () => {
  const types = new Map<string, MessageType<unknown>>();
  for (const kind of Object.values(IMAGE_KINDS)) if ('type' in kind) types.set(kind.type.name, kind.type);
  types.set('criu_req', CriuReq);

  for (const [name, type] of types) {
    test(`${name} survives a round trip`, () => {
      fc.assert(
        fc.property(arbitraryMessage(type), (message) => {
          expect(decode(type, encode(type, message), 'x')).toEqual(message);
        }),
        { numRuns: 15 },
      );
    });

    test(`garbage in the place of ${name} gives an ImageError or a message`, () => {
      const onlyImageErrors = (data: Uint8Array) => {
        try {
          // What was accepted can be written again.
          encode(type, decode(type, data, 'x'));
        } catch (error) {
          if (!(error instanceof ImageError)) throw error;
        }
      };
      const damage = fc.tuple(arbitraryMessage(type), fc.nat(), fc.integer({ min: 0, max: 255 }), fc.boolean());
      fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), onlyImageErrors), { numRuns: 15 });
      fc.assert(
        fc.property(damage, ([message, where, value, isCut]) => {
          const data = encode(type, message).slice();
          if (data.length === 0) return;
          if (isCut) onlyImageErrors(data.subarray(0, where % data.length));
          data[where % data.length] = value;
          onlyImageErrors(data);
        }),
        { numRuns: 30 },
      );
    });
  }
});

test('ten thousand entries take no noticeable time', () => {
  const entry: PagemapEntry = { vaddr: VMA.start, compat_nr_pages: 1, flags: 4, nr_pages: 1 };
  const data = encode(PagemapEntry, entry).slice();
  const start = performance.now();
  for (let count = 0; count < 10_000; count++) decode(PagemapEntry, data, 'x');
  // Normally 3 ms; far from that only when something became quadratic or slow by a factor.
  expect(performance.now() - start).toBeLessThan(250);
});

function lengthBytes(length: number): number[] {
  return length < 128 ? [length] : [(length & 127) | 128, length >> 7];
}

function registers(count: number): Record<string, bigint> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`r${index}`, BigInt(index)]));
}

function emptyOptions() {
  return {
    veths: [],
    exec_cmd: [],
    ext_mnt: [],
    cg_root: [],
    inherit_fd: [],
    skip_mnt: [],
    enable_fs: [],
    unix_sk_ino: [],
    irmap_scan_paths: [],
    external: [],
    join_ns: [],
    cgroup_dump_controller: [],
  };
}

describe('parts that are the same', () => {
  const cores = fc.array(arbitraryMessage(CoreEntry), { minLength: 1, maxLength: 3 });
  const message = { tls: [1, 2, 3].map((entry_number) => ({ ...SEGMENT, entry_number })) };

  const parse = (alike: AlikeImages, image: Uint8Array) => parseImage('core', alike.add(image), 'core-1.img', alike);
  const LARGE = 1 << 20;

  test('are decoded once, with the same outcome', () => {
    fc.assert(
      fc.property(cores, (entries) => {
        const alike = new AlikeImages(LARGE);
        for (const entry of [...entries, ...entries]) {
          const image = serializeImage('core', [entry]);
          expect(parse(alike, image)).toEqual(parseImage('core', image, 'core-1.img'));
        }
      }),
      { numRuns: 15 },
    );
  });

  test('are the same object', () => {
    const alike = new AlikeImages(LARGE);
    const image = () => serializeImage('core', [{ mtype: 1, thread_info: { ...INFO, ...message } }]);
    const [first, second] = [parse(alike, image())[0], parse(alike, image())[0]];
    expect(second?.thread_info?.tls).toEqual(message.tls);
    expect(second?.thread_info).toBe(first?.thread_info ?? { ...INFO, ...message });
  });

  test('are still found damaged', () => {
    const alike = new AlikeImages(LARGE);
    const image = serializeImage('core', [{ mtype: 1, thread_info: { ...INFO, ...message } }]);
    parse(alike, image);
    const cut = image.slice(0, -1);
    cut[8] = (cut[8] ?? 0) - 1;
    expect(() => parse(alike, cut)).toThrow(ImageError);
  });

  test('are encoded once, with the same outcome', () => {
    fc.assert(
      fc.property(cores, (entries) => {
        for (const { thread_core, thread_info } of entries) {
          const plain = encode(CoreEntry, { mtype: 1, thread_core, thread_info });
          if (thread_core?.creds !== undefined) keepEncoded(thread_core.creds);
          if (thread_info !== undefined) keepEncoded(thread_info.fpregs);
          const again = () => hex(encode(CoreEntry, { mtype: 1, thread_core, thread_info }));
          expect([again(), again()]).toEqual([hex(plain), hex(plain)]);
        }
      }),
      { numRuns: 20 },
    );
  });
});
