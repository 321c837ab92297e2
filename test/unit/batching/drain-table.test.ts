import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DrainTable } from '../../../src/batching/drain-table.ts';

const ALONE = { otherFreeInMs: Number.POSITIVE_INFINITY, othersBusyMs: 0, arrivalsPerMs: 0, looks: false };

const strong = (rows: number): number => 8 + 0.5 * rows;
const linear = (rows: number): number => 0.5 + 4 * rows;
/** Steps: runs of up to four rows cost the same, as on hardware that works on four at a time. */
const stepped = (rows: number): number => 3 * Math.ceil(rows / 4);

/** The least that so many rows can wait together, trying everything. */
function leastWait(rows: number, maxRows: number, runMs: (rows: number) => number): number {
  if (rows === 0) return 0;
  let least = Number.POSITIVE_INFINITY;
  for (let size = 1; size <= Math.min(rows, maxRows); size++) {
    least = Math.min(least, rows * runMs(size) + leastWait(rows - size, maxRows, runMs));
  }
  return least;
}

describe('the drain table', () => {
  for (const [name, runMs] of Object.entries({ strong, linear, stepped, root: (rows: number) => Math.sqrt(rows) })) {
    it(`runs a backlog down with the least waiting there can be: ${name}`, () => {
      const table = new DrainTable(6, 1, runMs);
      for (let rows = 1; rows <= 14; rows++) {
        let waited = 0;
        for (let left = rows; left > 0; ) {
          const size = table.rowsToTake(ALONE, left);
          assert.ok(size >= 1 && size <= Math.min(6, left));
          waited += left * runMs(size);
          left -= size;
        }
        assert.ok(Math.abs(waited - leastWait(rows, 6, runMs)) < 1e-9, `${rows} rows`);
      }
    });
  }

  it('takes all where a run costs much whatever its size, and pieces where it does not', () => {
    assert.equal(new DrainTable(32, 1, strong).rowsToTake(ALONE, 8), 8);
    assert.ok(new DrainTable(32, 1, linear).rowsToTake(ALONE, 8) <= 2);
  });

  it('takes larger pieces when more rows are coming, up to what costs least per row in an overload', () => {
    const table = new DrainTable(32, 1, linear);
    const taken = [0, 0.1, 0.2, 0.3].map((arrivalsPerMs) => table.rowsToTake({ ...ALONE, arrivalsPerMs }, 64));
    assert.deepEqual(
      taken,
      taken.toSorted((a, b) => a - b),
    );
    assert.ok(taken[0]! <= 12);
    assert.equal(taken[3], 32);
  });

  it('leaves rows for a runner that is idle or soon will be', () => {
    const middle = (rows: number): number => 2 + 2 * rows;
    const table = new DrainTable(32, 2, middle);
    const idle = table.rowsToTake({ ...ALONE, otherFreeInMs: 0, arrivalsPerMs: 0.1 }, 6);
    const busy = table.rowsToTake({ ...ALONE, otherFreeInMs: 30, othersBusyMs: 30, arrivalsPerMs: 0.1 }, 6);
    assert.ok(idle <= 3, `${idle} of 6 beside an idle runner`);
    assert.ok(busy > idle, `${busy} of 6 beside a busy one`);
  });

  it('takes twice as many to learn what that costs', () => {
    const table = new DrainTable(32, 1, linear);
    const size = table.rowsToTake(ALONE, 16);
    assert.equal(table.rowsToTake({ ...ALONE, looks: true }, 16), 2 * size);
    assert.equal(table.rowsToTake({ ...ALONE, looks: true }, 1), 1);
  });

  it('takes at most what waits and what fits, however much waits and whatever the largest size', () => {
    for (const maxRows of [1, 2, 23, 24, 25, 128, 65_536]) {
      const table = new DrainTable(maxRows, 3, linear);
      for (const waiting of [1, 2, 7, 100, 10_000]) {
        for (const arrivalsPerMs of [0, 0.5, 100]) {
          const size = table.rowsToTake({ ...ALONE, otherFreeInMs: 3, othersBusyMs: 9, arrivalsPerMs }, waiting);
          assert.ok(Number.isInteger(size) && size >= 1 && size <= Math.min(maxRows, waiting), `${size}`);
        }
      }
    }
  });

  it('takes a curve that falls for one that stays', () => {
    const table = new DrainTable(4, 1, (rows) => [9, 5, 5, 6][rows - 1]!);
    assert.deepEqual([...table.runMs], [0, 9, 9, 9, 9]);
  });
});
