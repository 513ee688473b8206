/**
 * FPU, SSE, AVX, AVX-512, PKRU and AMX state of a thread: the XSAVE area (Intel SDM volume 1, chapter 13) to and from
 * the image's user_x86_fpregs_entry.
 *
 * The image format has a field for each component up to PKRU. What it has no field for (AMX tiles) is kept in an
 * extension field, see EXTENDED_STATE.
 */
import { assert } from '../../base/errors.ts';
import { perRun } from '../../base/per-run.ts';
import type { UserX86FpregsEntry, UserX86XsaveEntry } from '../../image/gen/core-x86.ts';
import { cpuid } from '../../linux/cpuid.ts';

const LEGACY_BYTES = 512;
const XSTATE_BV = 512;
const AVX_OFFSET = 576;

/** Components by their bit in XSTATE_BV. */
const YMM = 2;
const BNDREGS = 3;
const BNDCSR = 4;
const OPMASK = 5;
const ZMM_HI256 = 6;
const HI16_ZMM = 7;
const PKRU = 9;

/** Components whose content the image format has no field for. */
const EXTENDED = [17, 18] as const; // AMX TILECFG and TILEDATA

interface Component {
  readonly offset: number;
  readonly bytes: number;
}

const known = perRun(() => new Map<number, Component>());

/** Where a component lies in the standard format (CPUID leaf 0xD, sub-leaf = bit). */
function component(bit: number): Component {
  let place = known().get(bit);
  if (place === undefined) {
    const { eax, ebx } = bit === YMM ? { eax: 256, ebx: AVX_OFFSET } : cpuid(0xd, bit);
    place = { offset: ebx, bytes: eax };
    known().set(bit, place);
  }
  return place;
}

/** Room for an XSAVE area with all that the processor has (Intel SDM volume 2, CPUID leaf 0xD: ecx). */
export const xstateBytesMax = perRun(() => Math.max(cpuid(0xd).ecx, LEGACY_BYTES));

/** The image's view of an XSAVE area as PTRACE_GETREGSET gives it, and the raw bytes of components it has no field for. */
export function describeXstate(area: Uint8Array): { entry: UserX86FpregsEntry; extended: Map<number, Uint8Array> } {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  const bv = area.length > XSTATE_BV ? view.getBigUint64(XSTATE_BV, true) : 3n;
  const entry: UserX86FpregsEntry = {
    cwd: view.getUint16(0, true),
    swd: view.getUint16(2, true),
    twd: view.getUint16(4, true),
    fop: view.getUint16(6, true),
    rip: view.getBigUint64(8, true),
    rdp: view.getBigUint64(16, true),
    mxcsr: view.getUint32(24, true),
    mxcsr_mask: view.getUint32(28, true),
    st_space: words32(view, 32, 32),
    xmm_space: words32(view, 160, 64),
    padding: [],
  };
  if (area.length > AVX_OFFSET) entry.xsave = describeXsave(view, bv);
  const extended = new Map<number, Uint8Array>();
  for (const bit of EXTENDED) {
    if (!has(bv, bit)) continue;
    const { offset, bytes } = component(bit);
    if (bytes > 0 && offset + bytes <= area.length) extended.set(bit, area.slice(offset, offset + bytes));
  }
  return { entry, extended };
}

const has = (bv: bigint, bit: number) => (Number(bv & 0xffff_ffffn) & (1 << bit)) !== 0;
const EXTENDED_MASK = (1n << 17n) | (1n << 18n);

function describeXsave(view: DataView, bv: bigint): UserX86XsaveEntry {
  const array32 = (bit: number, count: number) => (has(bv, bit) ? words32(view, component(bit).offset, count) : []);
  const array64 = (bit: number, count: number) => (has(bv, bit) ? words64(view, component(bit).offset, count) : []);
  return {
    xstate_bv: bv & ~EXTENDED_MASK,
    ymmh_space: array32(YMM, 64),
    bndreg_state: array64(BNDREGS, 8),
    bndcsr_state: array64(BNDCSR, 8),
    opmask_reg: array64(OPMASK, 8),
    zmm_upper: array64(ZMM_HI256, 64),
    hi16_zmm: array64(HI16_ZMM, 128),
    pkru: array32(PKRU, 2),
  };
}

// Plain loops: hundreds of words for each thread.
function words32(view: DataView, offset: number, count: number): number[] {
  const words: number[] = [];
  for (let i = 0; i < count; i++) words.push(view.getUint32(offset + 4 * i, true));
  return words;
}

function words64(view: DataView, offset: number, count: number): bigint[] {
  const words: bigint[] = [];
  for (let i = 0; i < count; i++) words.push(view.getBigUint64(offset + 8 * i, true));
  return words;
}

/** An XSAVE area of `bytes` bytes (what PTRACE_SETREGSET of this kernel wants) with the image's content. */
export function assembleXstate(
  entry: UserX86FpregsEntry,
  extended: ReadonlyMap<number, Uint8Array>,
  bytes: number,
): Uint8Array {
  const area = new Uint8Array(bytes);
  const view = new DataView(area.buffer);
  view.setUint16(0, entry.cwd, true);
  view.setUint16(2, entry.swd, true);
  view.setUint16(4, entry.twd, true);
  view.setUint16(6, entry.fop, true);
  view.setBigUint64(8, entry.rip, true);
  view.setBigUint64(16, entry.rdp, true);
  view.setUint32(24, entry.mxcsr, true);
  view.setUint32(28, entry.mxcsr_mask, true);
  put32(view, 32, entry.st_space, 32);
  put32(view, 160, entry.xmm_space, 64);
  if (bytes <= LEGACY_BYTES) return area;
  let bv = entry.xsave?.xstate_bv ?? 3n;
  const { xsave } = entry;
  if (xsave !== undefined) {
    const place = (bit: number, values: readonly (number | bigint)[]) => {
      if (values.length === 0) return;
      if ((bv & (1n << BigInt(bit))) === 0n) return;
      const { offset, bytes: size } = component(bit);
      if (size === 0 || offset + size > bytes) return;
      if (typeof values[0] === 'bigint') put64(view, offset, values as bigint[], size / 8);
      else put32(view, offset, values as number[], size / 4);
    };
    place(YMM, xsave.ymmh_space);
    place(BNDREGS, xsave.bndreg_state);
    place(BNDCSR, xsave.bndcsr_state);
    place(OPMASK, xsave.opmask_reg);
    place(ZMM_HI256, xsave.zmm_upper);
    place(HI16_ZMM, xsave.hi16_zmm);
    place(PKRU, xsave.pkru);
  }
  for (const [bit, content] of extended) {
    const { offset, bytes: size } = component(bit);
    assert(size === content.length && offset + size <= bytes, `the CPU has XSAVE component ${bit} as it was dumped`);
    area.set(content, offset);
    bv |= 1n << BigInt(bit);
  }
  view.setBigUint64(XSTATE_BV, bv, true);
  return area;
}

function put32(view: DataView, offset: number, values: readonly number[], max: number): void {
  for (let i = 0; i < max && i < values.length; i++) view.setUint32(offset + 4 * i, values[i] ?? 0, true);
}

function put64(view: DataView, offset: number, values: readonly bigint[], max: number): void {
  for (let i = 0; i < max && i < values.length; i++) view.setBigUint64(offset + 8 * i, values[i] ?? 0n, true);
}
