/** What a run of so many rows takes, in milliseconds. */
export type Curve = (rows: number) => number;

/** A measured point of a curve. */
export interface CurvePoint {
  readonly rows: number;
  readonly ms: number;
}

/** A run costs `fixedMs` whatever its size, and `rowMs` for each row. */
export function affineCurve(fixedMs: number, rowMs: number): Curve {
  return (rows) => fixedMs + rowMs * rows;
}

/**
 * Straight lines between measured points, and on along the last line; never less than nothing.
 *
 * @param points at least one, of different sizes; in any order.
 */
export function curveThrough(points: readonly CurvePoint[]): Curve {
  const sorted = points.toSorted((a, b) => a.rows - b.rows);
  const first = sorted[0]!;
  // One point says nothing of how a run grows; the dearest guess is that it does with its rows.
  if (sorted.length === 1) return (rows) => (first.ms * rows) / first.rows;
  return (rows) => {
    let right = 1;
    while (right < sorted.length - 1 && sorted[right]!.rows < rows) right++;
    const [a, b] = [sorted[right - 1]!, sorted[right]!];
    return Math.max(0, a.ms + ((b.ms - a.ms) / (b.rows - a.rows)) * (rows - a.rows));
  };
}

/** Sizes from 1 to 7 each for themselves, then four to a doubling. */
export function sizeClass(rows: number): number {
  if (rows < 8) return rows - 1;
  const exponent = 31 - Math.clz32(rows);
  return 7 + 4 * (exponent - 3) + ((rows >> (exponent - 2)) & 3);
}
