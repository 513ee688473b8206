/** JSON as crit reads and writes it: integers of any size, and keys in the order in which they were set. */

export type JsonValue = string | number | bigint | boolean | JsonValue[] | JsonObject;

export interface JsonObject {
  [key: string]: JsonValue;
}

export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && !Array.isArray(value);
}
