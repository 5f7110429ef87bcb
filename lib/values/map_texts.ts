// Every text of a value, changed: of what is told, whatever else it holds.

/**
 * Pure. What is neither a text, a list nor a plain object stays as it is, and so does what stands under
 * one of the keys in `except`.
 */
export function mapTexts<Value>(
  value: Value,
  change: (text: string) => string,
  except?: readonly string[],
): Value;
export function mapTexts(
  value: unknown,
  change: (text: string) => string,
  except: readonly string[] = [],
): unknown {
  const map = (item: unknown) => mapTexts<unknown>(item, change, except);
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map(map);
  if (typeof value !== "object" || value === null) return value;
  if (Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, except.includes(key) ? item : map(item)]),
  );
}
