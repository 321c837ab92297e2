/** An option that cannot be used as given. The message is one line: option, value, what is allowed. */
export class ConfigError extends Error {
  readonly code = 'CONFIG_INVALID' as const;
  /** The option as the user wrote it: `--port`, `SHOAL_PORT`, `'port' in shoal.config.json`. */
  readonly option: string;
  readonly value: unknown;
  /** What would have been right, as the end of "expected …". */
  readonly allowed: string;

  constructor(option: string, value: unknown, allowed: string, message?: string) {
    super(message ?? `${option} is ${formatValue(value)}, expected ${allowed}`);
    this.name = 'ConfigError';
    this.option = option;
    this.value = value;
    this.allowed = allowed;
  }
}

/**
 * The error for a name that is no option, with the nearest known name.
 *
 * @param subject how the name stood: `SHOAL_PROT`.
 * @param name the part to compare with `known`.
 * @param show how to write a known name in the message.
 */
export function unknownOption(
  subject: string,
  name: string,
  known: readonly string[],
  show: (other: string) => string,
): ConfigError {
  const near = nearest(name, known);
  const hint = near === undefined ? '' : `, did you mean ${show(near)}?`;
  return new ConfigError(subject, undefined, known.join(', '), `${subject} is not known${hint}`);
}

/** The known name with the fewest differing characters, when they are few enough to be a slip. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let fewest = Math.min(3, Math.floor(name.length / 2)) + 1;
  for (const other of known) {
    const edits = editDistance(name.toLowerCase(), other.toLowerCase());
    if (edits < fewest) {
      fewest = edits;
      best = other;
    }
  }
  return best;
}

function formatValue(value: unknown): string {
  const text = typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? String(value));
  const line = text.replace(/[\p{Cc}\s]+/gu, ' ');
  return line.length > 100 ? `${line.slice(0, 100)}…` : line;
}

// Levenshtein's distance by rows (Wagner and Fischer, 1974).
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, swap));
    }
    row = next;
  }
  return row[b.length]!;
}
