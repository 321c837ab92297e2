import { invalid } from '../errors.ts';
import { isSpace, type JsonText } from './json-text.ts';

/** Most bytes of the text of an object with an address, so that it need not be read in pieces. */
const MAX_TEXT_BYTES = 8192;

const KEY = '"url"';

/** An object `{"url": "https://…"}`, which stands for what is to be fetched there. */
export interface UrlObject {
  readonly url: string;
  /** Where it ends in the text. */
  readonly end: number;
}

/** Whether an object whose first key is `url` begins at `pos`. */
export function isUrlObject({ bytes, end }: JsonText, pos: number): boolean {
  if (bytes[pos] !== 0x7b) return false;
  pos++;
  while (pos < end && isSpace(bytes[pos]!)) pos++;
  for (let i = 0; i < KEY.length; i++) if (bytes[pos + i] !== KEY.charCodeAt(i)) return false;
  return pos + KEY.length <= end;
}

/**
 * Reads such an object.
 *
 * @param what names the tensor in messages.
 * @throws {ShoalError} INVALID_REQUEST for further keys, a value that is no string, and addresses of many kilobytes.
 */
export function readUrlObject({ bytes, end }: JsonText, pos: number, what: string): UrlObject {
  const limit = Math.min(end, pos + MAX_TEXT_BYTES);
  let isInString = false;
  for (let at = pos; at < limit; at++) {
    const c = bytes[at]!;
    if (c === 0x22) isInString = !isInString;
    else if (isInString && c === 0x5c) at++;
    else if (!isInString && c === 0x7d) return { url: urlOf(bytes.subarray(pos, at + 1), pos, what), end: at + 1 };
  }
  throw invalid(
    `${what} has an address at byte ${pos} of the JSON text that does not end within ${MAX_TEXT_BYTES} bytes`,
  );
}

function urlOf(object: Uint8Array, pos: number, what: string): string {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(object).toString());
  } catch {
    value = undefined;
  }
  const members = Object.entries(value ?? {});
  const url: unknown = members[0]?.[1];
  if (members.length === 1 && typeof url === 'string') return url;
  throw invalid(
    `${what} has an object at byte ${pos} of the JSON text, expected {"url": "https://…"} and nothing else`,
  );
}
