import { it } from 'node:test';
import fc from 'fast-check';
import type { Deed } from './row-model.ts';
import { World, type WorldOptions } from './world.ts';

/** One thing that happens; numbers choose among what is there, modulo how many there are. */
type Step =
  | {
      readonly kind: 'submit';
      readonly site: number;
      readonly deeds: readonly Deed[];
      readonly width: number;
      readonly key: number;
      readonly outputs: readonly number[] | undefined;
      readonly waitMs: number | undefined;
      readonly queueWaitMs: number | undefined;
      readonly priority: number;
    }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'cancel' | 'kill' | 'remove' | 'add' | 'again'; readonly which: number };

const deed = fc.oneof(
  { weight: 30, arbitrary: fc.constant<Deed>('innocent') },
  { weight: 2, arbitrary: fc.constant<Deed>('poison') },
  { weight: 1, arbitrary: fc.constant<Deed>('killer') },
);

const submit: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('submit' as const),
  site: fc.nat(1),
  deeds: fc.array(deed, { minLength: 1, maxLength: 4 }),
  // 1100 makes pieces that are too large to be copied together.
  width: fc.oneof({ weight: 8, arbitrary: fc.constantFrom(1, 3) }, { weight: 1, arbitrary: fc.constant(1100) }),
  key: fc.nat(1),
  outputs: fc.option(fc.constantFrom([0], [2, 0], [1]), { nil: undefined }),
  waitMs: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined, freq: 3 }),
  queueWaitMs: fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined, freq: 3 }),
  priority: fc.nat(2),
});

const which = fc.nat(1000);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: submit },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.nat(8) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('kill' as const, 'remove', 'add', 'again'), which }),
  },
);

const options = fc.record({
  cores: fc.integer({ min: 1, max: 3 }),
  threads: fc.constantFrom([1], [1, 1], [1, 2], [2, 1], [3]),
  maxBatchRows: fc.constantFrom(4, 5, 8, 1000),
  maxQueueRows: fc.constantFrom(10, 10_000),
  limitBytes: fc.constantFrom(2000, 1e9),
  windowMs: fc.constantFrom(0, 0, 5),
  preferredRows: fc.constantFrom([], [], [3], [2, 4]),
  preservesOrder: fc.constantFrom(false, false, true),
  levels: fc.constantFrom(0, 3),
  baseMs: fc.integer({ min: 1, max: 4 }),
  rowMs: fc.nat(2),
});

async function play(world: World, steps: readonly Step[]): Promise<void> {
  for (const one of steps) {
    switch (one.kind) {
      case 'submit': {
        const { deeds, width, key, outputs, waitMs, queueWaitMs, priority } = one;
        const site = world.sites[one.site % world.sites.length]!;
        world.submit(site, world.spec(deeds, width, key), {
          outputs,
          priority,
          ...(waitMs === undefined ? {} : { waitMs }),
          ...(queueWaitMs === undefined ? {} : { queueWaitMs }),
        });
        break;
      }
      case 'advance':
        await world.clock.advance(one.ms);
        world.check();
        break;
      case 'cancel':
        if (world.sent.length > 0) world.cancel(world.sent[one.which % world.sent.length]!);
        break;
      case 'again': {
        const sent = world.sent[one.which % Math.max(1, world.sent.length)];
        if (sent !== undefined) world.submit(sent.site, sent.spec);
        break;
      }
      default: {
        const site = world.sites[one.which % world.sites.length]!;
        const runner = [...site.runners][one.which % Math.max(1, site.runners.size)];
        if (one.kind === 'add' && site.runners.size < 3) world.addRunner(site);
        else if (one.kind === 'kill' && runner !== undefined) await world.kill(site, runner);
        else if (one.kind === 'remove' && runner !== undefined) world.removeRunner(site, runner);
      }
    }
  }
  await world.finish();
}

it('whatever happens, everyone is settled once, with exactly their own rows, within all limits', async () => {
  await fc.assert(
    fc.asyncProperty(options, fc.array(step, { minLength: 1, maxLength: 80 }), async (chosen, steps) => {
      const { baseMs, rowMs, ...rest } = chosen;
      const settings: WorldOptions = { ...rest, runMs: (rows) => baseMs + rowMs * rows };
      await play(new World(settings), steps);
    }),
    { numRuns: 3000, includeErrorInReport: true },
  );
});
