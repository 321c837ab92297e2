/**
 * Reading one value of an option, whatever it came from: text from a flag or a variable, a JSON value from a file,
 * a JavaScript value from a program. Pure; knows nothing of the options themselves.
 */

/** What an option's values are. `word` is a value with a meaning of its own beside the others, such as `auto`. */
export type ValueKind =
  | { readonly kind: 'count'; readonly min: number; readonly max: number; readonly word?: string }
  | { readonly kind: 'size'; readonly min: string; readonly max: string }
  | { readonly kind: 'duration'; readonly min: string; readonly max: string; readonly bareUnit: DurationUnit }
  | { readonly kind: 'text'; readonly pattern: string; readonly allowed: string }
  | { readonly kind: 'choice'; readonly choices: readonly string[] }
  /** Texts; as one text they are separated by commas. A flag may be given several times. */
  | { readonly kind: 'list'; readonly pattern: string; readonly allowed: string }
  | { readonly kind: 'switch' };

/** Units of durations. */
export type DurationUnit = 'ms' | 's' | 'm' | 'h';

const MS_PER_UNIT: Readonly<Record<DurationUnit, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const UNIT_NAMES: Readonly<Record<DurationUnit, string>> = {
  ms: 'milliseconds',
  s: 'seconds',
  m: 'minutes',
  h: 'hours',
};

const BYTES_PER_UNIT: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

const ON = ['true', 'on', 'yes', '1'];
const OFF = ['false', 'off', 'no', '0'];

/**
 * The value of `raw`: a number of bytes for sizes, of milliseconds for durations, texts for lists, otherwise a number,
 * a text or a boolean; undefined when `raw` is not allowed, see {@link describeAllowed}.
 */
export function parseValue(kind: ValueKind, raw: unknown): number | string | boolean | readonly string[] | undefined {
  switch (kind.kind) {
    case 'count': {
      const count = typeof raw === 'string' && /^\d{1,15}$/.test(raw.trim()) ? Number(raw) : raw;
      if (count === kind.word && kind.word !== undefined) return kind.word;
      return typeof count === 'number' && Number.isInteger(count) && count >= kind.min && count <= kind.max
        ? count
        : undefined;
    }
    case 'size':
      return within(parseSize(raw), parseSize(kind.min), parseSize(kind.max));
    case 'duration':
      return within(
        parseDuration(raw, kind.bareUnit),
        parseDuration(kind.min, kind.bareUnit),
        parseDuration(kind.max, kind.bareUnit),
      );
    case 'text':
      return typeof raw === 'string' && new RegExp(`^(?:${kind.pattern})$`, 'u').test(raw) ? raw : undefined;
    case 'choice':
      return typeof raw === 'string' && kind.choices.includes(raw) ? raw : undefined;
    case 'list':
      return parseList(raw, new RegExp(`^(?:${kind.pattern})$`, 'u'));
    case 'switch':
      if (typeof raw === 'boolean') return raw;
      if (typeof raw !== 'string') return undefined;
      return ON.includes(raw.toLowerCase()) ? true : OFF.includes(raw.toLowerCase()) ? false : undefined;
  }
}

/** What is allowed, as the end of a sentence: `expected …`. */
export function describeAllowed(kind: ValueKind): string {
  switch (kind.kind) {
    case 'count':
      return `${kind.word === undefined ? '' : `'${kind.word}' or `}a whole number from ${kind.min} to ${kind.max}`;
    case 'size':
      return `a size from ${kind.min} to ${kind.max}, such as 64MiB, 1GB or a plain number of bytes`;
    case 'duration':
      return `a duration from ${kind.min} to ${kind.max}, such as 500ms, 30s or 2m; a bare number means ${UNIT_NAMES[kind.bareUnit]}`;
    case 'text':
    case 'list':
      return kind.allowed;
    case 'choice':
      return `one of ${kind.choices.join(', ')}`;
    case 'switch':
      return 'true or false';
  }
}

/** The same in few words, for tables. */
export function summarizeAllowed(kind: ValueKind): string {
  switch (kind.kind) {
    case 'count':
      return `${kind.word === undefined ? '' : `${kind.word}, `}${kind.min} – ${kind.max}`;
    case 'size':
    case 'duration':
      return `${kind.min} – ${kind.max}${kind.kind === 'duration' ? `; bare number: ${UNIT_NAMES[kind.bareUnit]}` : ''}`;
    case 'choice':
      return kind.choices.join(', ');
    default:
      return describeAllowed(kind);
  }
}

/** The name of a duration's unit in full: `seconds`. */
export function unitName(unit: DurationUnit): string {
  return UNIT_NAMES[unit];
}

function parseList(raw: unknown, pattern: RegExp): readonly string[] | undefined {
  const items: unknown[] | undefined =
    typeof raw === 'string' ? raw.split(',').map((item) => item.trim()) : Array.isArray(raw) ? raw : undefined;
  const isText = (item: unknown): item is string => typeof item === 'string' && pattern.test(item);
  return items?.every(isText) ? Object.freeze([...new Set(items)]) : undefined;
}

function parseSize(raw: unknown): number | undefined {
  if (typeof raw === 'number') return Number.isInteger(raw) && raw >= 0 ? raw : undefined;
  const match = typeof raw === 'string' ? /^(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?i?b)?$/i.exec(raw.trim()) : null;
  const factor = BYTES_PER_UNIT[match?.[2]?.toLowerCase() ?? 'b'];
  if (match === null || factor === undefined) return undefined;
  const bytes = Number(match[1]) * factor;
  return match[2] === undefined && !Number.isInteger(bytes) ? undefined : Math.round(bytes);
}

function parseDuration(raw: unknown, bareUnit: DurationUnit): number | undefined {
  if (typeof raw === 'number') return Number.isFinite(raw) && raw >= 0 ? raw * MS_PER_UNIT[bareUnit] : undefined;
  const match = typeof raw === 'string' ? /^(\d{1,12}(?:\.\d{1,6})?) ?(ms|s|m|h)?$/.exec(raw.trim()) : null;
  if (match === null) return undefined;
  const unit = match[2];
  return Number(match[1]) * MS_PER_UNIT[isUnit(unit) ? unit : bareUnit];
}

function isUnit(text: string | undefined): text is DurationUnit {
  return text !== undefined && Object.hasOwn(MS_PER_UNIT, text);
}

function within(value: number | undefined, min: number | undefined, max: number | undefined): number | undefined {
  return value !== undefined && min !== undefined && max !== undefined && value >= min && value <= max
    ? value
    : undefined;
}
