/** The beginning of a string, or an integer that a double may not hold: sixteen digits, no fraction, no exponent. */
const TOKENS = /"|(?<![\w.+-])-?[1-9]\d{15,}(?![\w.])/g;
const MAY_BE_WIDE = /\d{16}/;

/**
 * `JSON.parse` that keeps integers of sixteen digits and more exact, as `bigint`: Node.js 20 has no other way to see
 * a number's own text, so that they travel through it as strings behind a mark.
 *
 * @throws {SyntaxError}
 */
export function parseExact(text: string): unknown {
  if (!MAY_BE_WIDE.test(text)) return JSON.parse(text);
  const mark = freeMark(text);
  if (mark === undefined) return JSON.parse(text);
  const marked = markIntegers(text, escapeOf(mark));
  const start = String.fromCharCode(mark);
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === 'string' && value.startsWith(start) ? BigInt(value.slice(1)) : value,
  );
}

/** The text with its wide integers as strings that begin with `prefix`. */
function markIntegers(text: string, prefix: string): string {
  let out = '';
  let from = 0;
  TOKENS.lastIndex = 0;
  for (let match = TOKENS.exec(text); match !== null; match = TOKENS.exec(text)) {
    if (match[0] === '"') {
      TOKENS.lastIndex = endOfString(text, match.index);
      continue;
    }
    out += `${text.slice(from, match.index)}"${prefix}${match[0]}"`;
    from = TOKENS.lastIndex;
  }
  return out + text.slice(from);
}

/** Behind the string that begins at `start`. A pattern for whole strings would run out of stack in long ones. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (text[quote - 1 - escapes] === '\\') escapes++;
    if (escapes % 2 === 0) return quote + 1;
  }
  return text.length;
}

/** A control character that no string of the text has; in JSON they are always escaped. */
function freeMark(text: string): number | undefined {
  for (let code = 1; code < 8; code++) if (!text.includes(escapeOf(code))) return code;
  return undefined;
}

function escapeOf(code: number): string {
  return `\\u000${code}`;
}

/** Whether a value is a JSON object. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
