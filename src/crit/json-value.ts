/** JSON as crit reads and writes it: integers of any size, and keys in the order in which they were set. */

export type JsonValue = string | number | bigint | boolean | JsonValue[] | JsonObject;

export interface JsonObject {
  [key: string]: JsonValue;
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && !Array.isArray(value);
}

/** Sets a member that came from a file: its name may be `__proto__`, which an assignment would not make a member. */
export function setMember(object: JsonObject, key: string, value: JsonValue): void {
  Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}
