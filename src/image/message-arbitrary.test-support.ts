/** Random messages for property tests, made from their description. */
import fc, { type Arbitrary } from 'fast-check';
import { isEnum, isMessage } from './codec.ts';
import type { FieldOptions, FieldSpec, FieldType, MessageType, ScalarType } from './message-type.ts';

/** Messages that hold messages deeper than this have no optional parts there. */
const DEPTH_MAX = 4;

/** Any message that `type` allows; byte arrays and lists are short. */
export function arbitraryMessage<T>(type: MessageType<T>, depth = 0): Arbitrary<T> {
  const required: string[] = [];
  const model: Record<string, Arbitrary<unknown>> = {};
  for (const spec of type.fields()) {
    const [, name, , label] = spec;
    if (label === 'optional' && depth >= DEPTH_MAX) continue;
    if (label !== 'optional') required.push(name);
    model[name] = arbitraryField(spec, depth);
  }
  return fc.record(model, { requiredKeys: required, noNullPrototype: true }) as Arbitrary<T>;
}

function arbitraryField([, , type, label, options]: FieldSpec, depth: number): Arbitrary<unknown> {
  if (label !== 'repeated') return arbitraryValue(type, options, depth);
  if (depth >= DEPTH_MAX) return fc.constant([]);
  return fc.array(arbitraryValue(type, options, depth), { maxLength: 3 });
}

function arbitraryValue(type: FieldType, options: FieldOptions | undefined, depth: number): Arbitrary<unknown> {
  if (isMessage(type)) return arbitraryMessage(type, depth + 1);
  if (isEnum(type)) return fc.constantFrom(...Object.values(type.values));
  return arbitraryScalar(type, options?.number === true);
}

function arbitraryScalar(type: ScalarType, asNumber: boolean): Arbitrary<unknown> {
  const isSigned = type.startsWith('s') || type.startsWith('i');
  switch (type) {
    case 'bool':
      return fc.boolean();
    case 'bytes':
      return fc.uint8Array({ maxLength: 20 });
    case 'string':
      return fc.string({
        unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
        maxLength: 90,
      });
    case 'int32':
    case 'sint32':
      return fc.integer();
    case 'uint32':
      return fc.integer({ min: 0, max: 0xffff_ffff });
    default:
      if (asNumber && isSigned) return fc.maxSafeInteger();
      if (asNumber) return fc.maxSafeNat();
      return isSigned
        ? fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n })
        : fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
  }
}
