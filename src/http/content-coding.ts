/**
 * Content codings of bodies (RFC 9110, section 8.4.1): gzip and deflate, where deflate is the zlib format, as the
 * clients of the protocol have it.
 */

/** A coding that bodies may have. */
export type Coding = 'gzip' | 'deflate';

/** When replies are compressed; the option `httpCompression`. */
export type CompressionMode = 'explicit' | 'negotiate' | 'off';

/** What a refusal of another coding says in `Accept-Encoding`. */
export const SUPPORTED_CODINGS = 'gzip, deflate';

/** Smaller replies are never compressed: they fit into a packet as they are. */
const LEAST_BYTES = 1024;

/**
 * The coding of a request's body; undefined when it is sent as it is.
 *
 * @param header the value of `Content-Encoding`.
 * @returns null for a coding that is not supported, and for several of them.
 */
export function readContentEncoding(header: string | undefined): Coding | null | undefined {
  if (header === undefined) return undefined;
  const name = header.toLowerCase();
  if (name === '' || name === 'identity') return undefined;
  return codingNamed(name) ?? null;
}

/**
 * The coding in which a reply is sent; undefined stands for as it is, which is always allowed.
 *
 * Some clients send a list with every request and do not undo the compression of every reply (`tritonclient.http.aio`),
 * so that a list counts only where the operator says so.
 *
 * @param header the value of `Accept-Encoding`.
 * @param size of the reply's body, in bytes.
 */
export function chooseReplyCoding(mode: CompressionMode, header: string, size: number): Coding | undefined {
  if (size < LEAST_BYTES || mode === 'off') return undefined;
  if (mode === 'explicit') return codingNamed(header.trim().toLowerCase());
  return preferredCoding(header);
}

function codingNamed(name: string): Coding | undefined {
  if (name === 'gzip' || name === 'deflate') return name;
  // RFC 9110, section 8.4.1.3: the same thing.
  return name === 'x-gzip' ? 'gzip' : undefined;
}

/** The supported coding with the highest weight, the first among equals; undefined where none or `identity` has more. */
function preferredCoding(header: string): Coding | undefined {
  let best: Coding | undefined;
  let bestWeight = 0;
  let identityWeight = 0;
  let anyWeight = 0;
  const named = new Set<string>();
  for (const entry of header.toLowerCase().split(',')) {
    const [name = '', ...parameters] = entry.split(';').map((part) => part.trim());
    const weight = weightOf(parameters);
    if (name === '*') anyWeight = weight;
    else if (name === 'identity') identityWeight = weight;
    const coding = codingNamed(name);
    if (coding === undefined) continue;
    named.add(coding);
    if (weight > bestWeight) [best, bestWeight] = [coding, weight];
  }
  if (anyWeight > bestWeight && !named.has('gzip')) [best, bestWeight] = ['gzip', anyWeight];
  return identityWeight > bestWeight ? undefined : best;
}

/** A weight that is none counts as 0: what is not understood is not asked for. */
function weightOf(parameters: readonly string[]): number {
  const q = parameters.find((parameter) => parameter.startsWith('q='));
  if (q === undefined) return 1;
  return /^q=(0(\.\d{0,3})?|1(\.0{0,3})?)$/.test(q) ? Number(q.slice(2)) : 0;
}
