/**
 * Cuts rows into so many pieces, in order, as equal as can be. There are fewer pieces than asked for when there are
 * fewer rows: none is empty.
 */
export function shardsOf(rows: Uint32Array, pieces: number): Uint32Array[] {
  const count = Math.min(pieces, rows.length);
  return Array.from({ length: count }, (_, i) =>
    rows.subarray(Math.floor((i * rows.length) / count), Math.floor(((i + 1) * rows.length) / count)),
  );
}

/** A span of time. */
export interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

/** How much of a span lies within others, which do not overlap each other. */
export function coveredMs(span: Span, others: readonly Span[]): number {
  let sum = 0;
  for (const { startMs, endMs } of others) {
    sum += Math.max(0, Math.min(span.endMs, endMs) - Math.max(span.startMs, startMs));
  }
  return sum;
}
