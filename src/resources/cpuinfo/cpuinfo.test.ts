import { describe, expect, test } from 'bun:test';
import fc from 'fast-check';
import type { CpuinfoX86Entry } from '../../image/gen/cpuinfo.ts';
import { compareCpu } from './compare-cpu.ts';
import { describeMissingXfeatures } from './cpuinfo.ts';
import { bitNames } from './instruction-sets.ts';
import { type AskCpuid, decodeSignature, readCpu } from './read-cpu.ts';

/** An AMD EPYC as a virtual machine showed it; CRIU 4.2 wrote these words for it (crit show cpuinfo.img). */
const EPYC: CpuinfoX86Entry = {
  vendor_id: 2,
  cpu_family: 25,
  model: 17,
  stepping: 1,
  capability_ver: 2,
  capability: [
    395049983, 802421759, 0, 34668544, 4294586883, 0, 4195315, 0, 0, 4055828395, 15, 4218822, 0, 1342308357, 4, 0, 0, 0,
    16,
  ],
  model_id: 'AMD EPYC',
  xfeatures_mask: 229n,
  xsave_size: 2432,
  xsave_size_max: 2432,
};

const zero = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
const textWords = (text: string) => new Uint32Array(Uint8Array.from(Buffer.from(text, 'latin1')).buffer);

/** CPUID of that machine, made from what the image says. */
const askEpyc: AskCpuid = (leaf, subleaf = 0) => {
  const words = EPYC.capability;
  const word = (index: number) => words[index] ?? 0;
  const [ebx = 0, edx = 0, ecx = 0] = textWords('AuthenticAMD');
  switch (leaf) {
    case 0:
      return { eax: 0x10, ebx, ecx, edx };
    case 1:
      return { eax: 0x00a1_0f11, ebx: 0, ecx: word(4), edx: word(0) };
    case 6:
      return { ...zero, eax: word(14) };
    case 7:
      return { eax: 1, ebx: word(9), ecx: word(11), edx: word(18) };
    case 0xd:
      return subleaf === 1 ? { ...zero, eax: word(10) } : { eax: 0xe7, ebx: 2432, ecx: 2432, edx: 0 };
    case 0x8000_0000:
      return { ...zero, eax: 0x8000_0028 };
    case 0x8000_0001:
      return { ...zero, ecx: word(6), edx: word(1) };
    case 0x8000_0002: {
      const [a = 0, b = 0] = textWords('AMD EPYC');
      return { ...zero, eax: a, ebx: b };
    }
    case 0x8000_0008:
      return { ...zero, ebx: word(13) };
    default:
      return zero;
  }
};

const ALL = { fpu: true, ins: true, cpu: true };
const withWord = (index: number, change: (word: number) => number): CpuinfoX86Entry => ({
  ...EPYC,
  capability: EPYC.capability.map((word, i) => (i === index ? change(word) >>> 0 : word)),
});

describe('reading the CPU', () => {
  test('gives the words that CRIU writes', () => {
    expect(readCpu(askEpyc)).toEqual(EPYC);
  });

  test('family and model take their extensions in', () => {
    expect(decodeSignature(0x00a1_0f11)).toEqual({ cpu_family: 25, model: 17, stepping: 1 });
    expect(decodeSignature(0x0005_0657)).toEqual({ cpu_family: 6, model: 85, stepping: 7 });
    expect(decodeSignature(0x0000_0543)).toEqual({ cpu_family: 5, model: 4, stepping: 3 });
  });

  test('a CPU of another maker is refused', () => {
    const ask: AskCpuid = (leaf) =>
      leaf === 0 ? { eax: 1, ebx: 0x746e_6543, ecx: 0x736c_7561, edx: 0x4872_7561 } : zero;
    expect(() => readCpu(ask)).toThrow(
      "cannot describe a CPU of 'CentaurHauls': the image format knows Intel and AMD only; leave out --cpu-cap",
    );
  });

  test('the maker of the real one is known, and its words are 32 bits wide', () => {
    expect(readCpu().capability.every((word) => word >= 0 && word <= 0xffff_ffff)).toBe(true);
  });
});

describe('comparing CPUs', () => {
  test('a CPU is fit for its own images in every mode', () => {
    expect(compareCpu(EPYC, EPYC, ALL)).toEqual([]);
  });

  test('missing instructions are named', () => {
    const cpu = withWord(9, (word) => word & ~((1 << 16) | (1 << 5)));
    expect(compareCpu(EPYC, cpu, { fpu: false, ins: true, cpu: false })).toEqual([
      'the CPU lacks avx2',
      'the CPU lacks avx512f',
    ]);
    expect(compareCpu(EPYC, cpu, { fpu: true, ins: false, cpu: false })).toEqual([]);
  });

  test('more instructions do no harm, except in strict mode', () => {
    const old = withWord(9, (word) => word & ~(1 << 16));
    expect(compareCpu(old, EPYC, { fpu: true, ins: true, cpu: false })).toEqual([]);
    expect(compareCpu(old, EPYC, { fpu: false, ins: false, cpu: true })).toEqual([
      'the CPU has avx512f, the other had not',
    ]);
  });

  test('features without a name are told by their bit', () => {
    expect(bitNames(14, 4)).toEqual(['bit 2 of CPUID 6 EAX']);
  });

  test('parts and size of the FPU state', () => {
    const cpu = { ...EPYC, xfeatures_mask: 5n, xsave_size: 832, xsave_size_max: 832 };
    expect(compareCpu(EPYC, cpu, { fpu: true, ins: false, cpu: false })).toEqual([
      'the CPU lacks AVX-512 mask registers, which the images may hold',
      'the CPU lacks AVX-512 upper halves, which the images may hold',
      'the CPU lacks AVX-512 registers 16 to 31, which the images may hold',
      'the FPU state (all enabled parts) has 832 bytes here, but 2432 where the images come from',
      'the FPU state (all possible parts) has 832 bytes here, but 2432 where the images come from',
    ]);
  });

  test('an older image has fewer words and no sizes', () => {
    const { xfeatures_mask, xsave_size, xsave_size_max, ...rest } = EPYC;
    const image = { ...rest, capability_ver: 1, capability: EPYC.capability.slice(0, 12) };
    expect([xfeatures_mask, xsave_size, xsave_size_max]).toEqual([229n, 2432, 2432]);
    expect(compareCpu(image, EPYC, ALL)).toEqual([]);
  });

  test('an image of the wrong form is not compared', () => {
    expect(compareCpu({ ...EPYC, capability: [1] }, EPYC, ALL)).toEqual([
      'the image has 1 words of CPU features instead of 19',
    ]);
    expect(compareCpu({ ...EPYC, capability_ver: 3 }, EPYC, ALL)).toEqual([
      'the image has CPU features of version 3; known are 1 and 2',
    ]);
  });

  test('any words give sentences, and never an exception', () => {
    const word = fc.integer({ min: 0, max: 0xffff_ffff });
    const words = fc.array(word, { minLength: 19, maxLength: 19 });
    fc.assert(
      fc.property(words, words, (a, b) => {
        const problems = compareCpu({ ...EPYC, capability: a }, { ...EPYC, capability: b }, ALL);
        return problems.every((text) => text.startsWith('the CPU '));
      }),
    );
  });
});

describe('FPU state of the cores', () => {
  test('the CPU is not asked when nothing but x87 and SSE is there', () => {
    const ask = () => {
      throw new Error('asked');
    };
    expect(describeMissingXfeatures(0n, ask)).toEqual([]);
  });

  test('what the CPU has no room for is named', () => {
    expect(describeMissingXfeatures(0b1110_0100n | (1n << 18n), () => 7n)).toEqual([
      'the CPU lacks AVX-512 mask registers, which the images hold',
      'the CPU lacks AVX-512 upper halves, which the images hold',
      'the CPU lacks AVX-512 registers 16 to 31, which the images hold',
      'the CPU lacks AMX tile data, which the images hold',
    ]);
  });
});
