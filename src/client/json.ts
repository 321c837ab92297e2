/** Integers that a double may not hold: sixteen digits or more, outside of strings, without fraction or exponent. */
const WIDE_INTEGERS = /"(?:[^"\\]|\\.)*"|(?<![\w.+-])-?\d{16,}(?![\w.])/g;
const MAY_BE_WIDE = /\d{16}/;

/** What stands before the digits of a wide integer while it travels through `JSON.parse` as a string. */
const MARK = '\u0001';

/**
 * `JSON.parse` that keeps integers of sixteen digits and more exact, as `bigint`: Node.js 20 has no other way to see
 * a number's own text.
 *
 * @throws {SyntaxError}
 */
export function parseExact(text: string): unknown {
  if (!MAY_BE_WIDE.test(text)) return JSON.parse(text);
  const marked = text.replace(WIDE_INTEGERS, (token) => (token.startsWith('"') ? token : `"\\u0001${token}"`));
  // A string of the text that begins with the mark was escaped there; nothing but digits follows ours.
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith(MARK) && /^-?\d{16,}$/.test(value.slice(1))
      ? BigInt(value.slice(1))
      : value,
  );
}

/** Whether a value is a JSON object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
