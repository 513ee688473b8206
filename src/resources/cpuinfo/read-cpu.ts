/**
 * The features of the CPU that we run on, in the form of cpuinfo.img. Every CPUID costs an exit of the virtual machine,
 * so this is only called when an option or the command `cpuinfo` asks for it.
 */
import { CriuError } from '../../base/errors.ts';
import { type CpuinfoX86Entry, CpuinfoX86EntryVendor } from '../../image/gen/cpuinfo.ts';
import { type Cpuid, cpuid } from '../../linux/cpuid.ts';

const CAPABILITY_VERSION = 2;
const CAPABILITY_WORDS = 19;

/** Bits of XCR0 that the image names: x87, SSE, AVX, MPX, AVX-512, PKRU. */
const USER_XFEATURES = 0x2ffn;
/** CRIU takes these away by mistake together with the supervisor states (it means 8 and 10); images have them so. */
const CLEARED_BY_CRIU = 0x10an;
/** Extended states that count only when the CPU has the feature: state, word, bit. */
const XFEATURE_NEEDS: readonly (readonly [state: bigint, word: number, bit: number])[] = [
  [0n, 0, 0], [1n, 0, 25], [2n, 4, 28], [3n, 9, 14], [4n, 9, 14], [5n, 9, 16], [6n, 9, 16], [7n, 9, 16], [9n, 11, 3],
]; // biome-ignore format: a table

/** Answers CPUID; the real one unless a test has its own. */
export type AskCpuid = (leaf: number, subleaf?: number) => Cpuid;

/** Throws CriuError on a CPU of a maker that the image format has no number for. */
export function readCpu(ask: AskCpuid = cpuid): CpuinfoX86Entry {
  const first = ask(0);
  const vendor_id = findVendor(textOf([first.ebx, first.edx, first.ecx]));
  const one = ask(1);
  const { cpu_family, model, stepping } = decodeSignature(one.eax);
  const capability = readCapabilities(ask, first.eax, one);
  addKnown(capability, vendor_id, cpu_family, one.eax);
  const hasXsave = ((capability[4] ?? 0) >>> 26) & 1;
  const sizes = hasXsave ? ask(0xd) : undefined;
  return {
    vendor_id,
    cpu_family,
    model,
    stepping,
    capability_ver: CAPABILITY_VERSION,
    capability,
    ...readModelName(ask),
    xfeatures_mask: sizes === undefined ? 0n : xfeaturesOf(sizes, capability),
    xsave_size: sizes?.ebx ?? 0,
    xsave_size_max: sizes?.ecx ?? 0,
  };
}

function findVendor(name: string): CpuinfoX86Entry['vendor_id'] {
  if (name === 'GenuineIntel') return CpuinfoX86EntryVendor.INTEL;
  if (name === 'AuthenticAMD' || name === 'HygonGenuine') return CpuinfoX86EntryVendor.AMD;
  throw new CriuError({
    action: `cannot describe a CPU of '${name}'`,
    why: 'the image format knows Intel and AMD only',
    remedy: 'leave out --cpu-cap',
  });
}

/** Family, model, stepping as CRIU counts them: the extended model is added from family 6 on, shifted by 4. */
export function decodeSignature(eax: number): { cpu_family: number; model: number; stepping: number } {
  const family = (eax >>> 8) & 0xf;
  const model = (eax >>> 4) & 0xf;
  return {
    cpu_family: family === 0xf ? family + ((eax >>> 20) & 0xff) : family,
    model: family >= 6 ? model + (((eax >>> 16) & 0xf) << 4) : model,
    stepping: eax & 0xf,
  };
}

function readCapabilities(ask: AskCpuid, level: number, one: Cpuid): number[] {
  const words = new Array<number>(CAPABILITY_WORDS).fill(0);
  words[0] = one.edx;
  words[4] = one.ecx;
  if (level >= 6) words[14] = ask(6).eax;
  if (level >= 7) {
    const seven = ask(7);
    [words[9], words[11], words[18]] = [seven.ebx, seven.ecx, seven.edx];
  }
  if (level >= 0xd) words[10] = ask(0xd, 1).eax;
  // Without leaf Dh there is nothing to save a state with.
  else words[4] = (words[4] & ~(1 << 26)) >>> 0;
  if (level >= 0xf) {
    words[16] = ask(0xf).edx;
    if ((words[16] >>> 1) & 1) words[12] = ask(0xf, 1).edx;
  }
  readExtended(ask, words);
  return words;
}

const EXTENDED = 0x8000_0000;

function readExtended(ask: AskCpuid, words: number[]): void {
  const level = ask(EXTENDED).eax;
  if (level >>> 16 === 0x8000 && level >= EXTENDED + 1) {
    const { ecx, edx } = ask(EXTENDED + 1);
    [words[6], words[1]] = [ecx, edx];
  }
  if (level >= EXTENDED + 7) words[17] = ask(EXTENDED + 7).ebx;
  if (level >= EXTENDED + 8) words[13] = ask(EXTENDED + 8).ebx;
  if (level >= EXTENDED + 0xa) words[15] = ask(EXTENDED + 0xa).edx;
}

const NOPL = 1 << 20;
const CPUID = 1 << 25;
const REP_GOOD = 1 << 16;

/** What CPUID does not say, but holds on x86-64 or for a family (arch/x86/kernel/cpu/intel.c, amd.c). */
function addKnown(words: number[], vendor: CpuinfoX86Entry['vendor_id'], family: number, signature: number): void {
  let linux = NOPL | CPUID;
  if (vendor === CpuinfoX86EntryVendor.INTEL) {
    if (family === 6) linux |= REP_GOOD;
    if (family === 15) words[9] = ((words[9] ?? 0) & ~(1 << 9)) >>> 0;
  } else {
    words[0] = ((words[0] ?? 0) & 0x7fff_ffff) >>> 0;
    const isLaterK8 = family === 0xf && ((signature >= 0x0f48 && signature < 0x0f50) || signature >= 0x0f58);
    if (family >= 0x10 || isLaterK8) linux |= REP_GOOD;
  }
  words[3] = linux;
}

function xfeaturesOf({ eax, edx }: Cpuid, capability: readonly number[]): bigint {
  let mask = BigInt(eax) | (BigInt(edx) << 32n);
  for (const [state, word, bit] of XFEATURE_NEEDS) {
    if ((((capability[word] ?? 0) >>> bit) & 1) === 0) mask &= ~(1n << state);
  }
  return mask & USER_XFEATURES & ~CLEARED_BY_CRIU;
}

function readModelName(ask: AskCpuid): { model_id?: string } {
  if (ask(EXTENDED).eax < EXTENDED + 4) return {};
  const words = [2, 3, 4].flatMap((leaf) => {
    const { eax, ebx, ecx, edx } = ask(EXTENDED + leaf);
    return [eax, ebx, ecx, edx];
  });
  const name = textOf(words);
  const end = name.indexOf('\0');
  // Intel puts blanks before the name.
  const text = (end < 0 ? name : name.slice(0, end)).replace(/^ +/, '');
  return text === '' ? {} : { model_id: text };
}

function textOf(words: readonly number[]): string {
  return Buffer.from(Uint32Array.from(words).buffer).toString('latin1');
}
