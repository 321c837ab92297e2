import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { systemClock } from '../../../src/clock.ts';
import { Backoff } from '../../../src/serving/backoff.ts';
import { checkTensors } from '../../../src/serving/check-tensors.ts';
import { DEFAULT_SETTINGS, type InstanceSettings } from '../../../src/serving/model-settings.ts';
import { chooseForModel, chooseProvider, type ProviderChoice } from '../../../src/serving/provider.ts';
import { Scaling } from '../../../src/serving/scaling.ts';
import { spreadByProfile, spreadOver } from '../../../src/serving/threads.ts';
import type { Tensor } from '../../../src/tensor/tensor.ts';
import { makeTensor } from '../../../src/tensor/typed.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('back-off', () => {
  it('starts at once, then pauses longer and longer, up to 5 s, until it is reset', () => {
    const backoff = new Backoff();
    const pauses = Array.from({ length: 9 }, () => backoff.next());
    assert.deepEqual(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    backoff.reset();
    assert.deepEqual([backoff.next(), backoff.next()], [0, 100]);
  });
});

describe('scaling', () => {
  it('wants a further instance when those there are were busy nearly all the time', async () => {
    const clock = new FakeClock();
    const scaling = new Scaling(clock);
    const wants: boolean[] = [];
    for (let i = 0; i < 5; i++) {
      await clock.advance(100);
      wants.push(scaling.wantsMore(85, 1));
    }
    assert.deepEqual(wants, [false, false, false, false, true]);
  });

  it('wants none when they had time left, or when nobody waited', async () => {
    for (const busyMs of [70, 0]) {
      const clock = new FakeClock();
      const scaling = new Scaling(clock);
      for (let i = 0; i < 50; i++) {
        await clock.advance(100);
        assert.equal(scaling.wantsMore(busyMs, 1), false);
      }
    }
  });

  it('measures the share of all instances together', async () => {
    const clock = new FakeClock();
    const scaling = new Scaling(clock);
    await clock.advance(500);
    assert.equal(scaling.wantsMore(500, 2), false);
    await clock.advance(500);
    assert.equal(scaling.wantsMore(850, 2), true);
  });

  it('starts afresh after each look', async () => {
    const clock = new FakeClock();
    const scaling = new Scaling(clock);
    await clock.advance(500);
    assert.equal(scaling.wantsMore(500, 1), true);
    await clock.advance(500);
    assert.equal(scaling.wantsMore(100, 1), false);
  });
});

describe('instances and threads', () => {
  const small = 1e6;
  const large = 117e6;
  const cases: [
    cores: number,
    instances: number | 'auto',
    threads: number | 'auto',
    bytes: number,
    [number, number],
  ][] = [
    [4, 'auto', 'auto', small, [4, 1]],
    [4, 'auto', 'auto', large, [1, 4]],
    [4, 'auto', 'auto', 16e6, [4, 1]],
    [4, 'auto', 'auto', 16e6 + 1, [1, 4]],
    [1, 'auto', 'auto', large, [1, 1]],
    [4, 'auto', 2, small, [2, 2]],
    [4, 'auto', 3, small, [1, 3]],
    [4, 'auto', 2, large, [1, 2]],
    [4, 3, 'auto', small, [3, 1]],
    [4, 3, 'auto', large, [3, 4]],
    [4, 2, 2, large, [2, 2]],
  ];
  for (const [cores, instances, intraOpThreads, bytes, [expectedInstances, expectedThreads]] of cases) {
    it(`of ${bytes / 1e6} MB on ${cores} cores, with ${instances} and ${intraOpThreads} set`, () => {
      assert.deepEqual(spreadOver({ cores, instances, intraOpThreads }, bytes), {
        instances: expectedInstances,
        threads: expectedThreads,
      });
    });
  }
});

describe('the spread by a profile', () => {
  const byRule = { instances: 2, threads: 1 };
  const free = { instances: 'auto', intraOpThreads: 'auto' } as const;
  const profile = (own: number, other: number): Parameters<typeof spreadByProfile>[2] => {
    const size = (rowsPerSecond: number) => [{ rows: 1, runs: 9, ms: 1, highMs: 1, rowsPerSecond }];
    return {
      splits: [
        { instances: 1, threads: 2, sizes: size(other), stop: 'flat' },
        { ...byRule, sizes: size(own), stop: 'flat' },
      ],
      best: { instances: 1, threads: 2 },
    };
  };

  it('is the measured one where that is better by a tenth', () => {
    assert.deepEqual(spreadByProfile(byRule, free, profile(100, 111)), { instances: 1, threads: 2 });
    assert.deepEqual(spreadByProfile(byRule, free, profile(100, 109)), byRule);
  });

  it('is compared at equal numbers of rows under way: what only many of them bring is not enough', () => {
    const at = (rates: readonly number[]) =>
      rates.map((rowsPerSecond, i) => ({ rows: 2 ** i, runs: 9, ms: 1, highMs: 1, rowsPerSecond }));
    const wide = { instances: 1, threads: 2 };
    const splits = [
      { ...wide, sizes: at([100, 200, 400, 800, 1000]), stop: 'flat' as const },
      { ...byRule, sizes: at([100, 200, 400, 800, 1200]), stop: 'flat' as const },
    ];
    assert.deepEqual(spreadByProfile(wide, free, { splits, best: byRule }), wide);
  });

  it('is the one by rule without a profile, where either number is set, and where it was not measured itself', () => {
    assert.deepEqual(spreadByProfile(byRule, free, undefined), byRule);
    assert.deepEqual(spreadByProfile(byRule, { ...free, instances: 2 }, profile(100, 200)), byRule);
    assert.deepEqual(spreadByProfile(byRule, { ...free, intraOpThreads: 1 }, profile(100, 200)), byRule);
    assert.deepEqual(spreadByProfile({ instances: 4, threads: 1 }, free, profile(100, 200)), {
      instances: 4,
      threads: 1,
    });
  });
});

describe('tensors of programs', () => {
  const check = (tensor: Tensor) => checkTensors(new Map([['x', tensor]]));

  it('pass when their bytes are what their shapes say', () => {
    check(makeTensor('FP32', [2, 3], new Float32Array(6)));
    check(makeTensor('INT64', [], BigInt64Array.of(1n)));
    check(makeTensor('FP16', [0, 4], new Uint16Array()));
    check(makeTensor('BYTES', [3], ['', 'a', 'grüß']));
  });

  it('are refused when they are not, so that they cannot shift their neighbours’ rows', () => {
    const strings = makeTensor('BYTES', [2], ['a', 'b']).bytes;
    const cases: [Tensor, string][] = [
      [
        { datatype: 'FP32', shape: [2, 2], bytes: new Uint8Array(15) },
        "input 'x' has 15 bytes, FP32 of shape [2,2] has 16",
      ],
      [
        { datatype: 'FP32', shape: [2, 2], bytes: new Uint8Array(17) },
        "input 'x' has 17 bytes, FP32 of shape [2,2] has 16",
      ],
      [
        { datatype: 'UINT8', shape: [-1], bytes: new Uint8Array() },
        "input 'x' has shape [-1], expected whole numbers from 0",
      ],
      [
        { datatype: 'UINT8', shape: [1.5, 2], bytes: new Uint8Array(3) },
        "input 'x' has shape [1.5,2], expected whole numbers from 0",
      ],
      [{ datatype: 'BYTES', shape: [3], bytes: strings }, "input 'x' ends within the length of element 2 of 3"],
      [{ datatype: 'BYTES', shape: [1], bytes: strings }, "input 'x' has 10 bytes, BYTES of shape [1] has 5"],
      [{ datatype: 'BYTES', shape: [2], bytes: strings.subarray(0, 9) }, "input 'x' ends within element 1 of 2"],
    ];
    for (const [tensor, message] of cases) assert.throws(() => check(tensor), { code: 'INVALID_REQUEST', message });
  });
});

describe('provider', () => {
  it('is the CPU when that is configured, without trying anything', async () => {
    assert.deepEqual(await chooseProvider('cpu', systemClock), {
      provider: 'cpu',
      device: 0,
      reason: 'as configured',
      problem: undefined,
    });
  });

  describe('of one model', () => {
    const cuda: ProviderChoice = { provider: 'cuda', device: 1, reason: 'as configured', problem: undefined };
    const cpu: ProviderChoice = { provider: 'cpu', device: 0, reason: 'no library', problem: undefined };
    const choose = (instances: Partial<InstanceSettings>, server: ProviderChoice): Promise<ProviderChoice> =>
      chooseForModel(
        { file: 'config.json', instances: { ...DEFAULT_SETTINGS.instances, ...instances } },
        async () => server,
      );

    it("is the server's unless a configuration says otherwise", async () => {
      assert.deepEqual(await choose({}, cuda), cuda);
      assert.deepEqual(await choose({ device: 3 }, cuda), { ...cuda, device: 3 });
      assert.deepEqual(await choose({ device: 3 }, cpu), cpu, 'KIND_AUTO takes the CPU where there is no GPU');
      assert.deepEqual(await choose({ provider: 'cuda' }, cuda), cuda);
    });

    it('is the CPU for KIND_CPU, and a problem for KIND_GPU where there is none', async () => {
      const { provider, reason, problem } = await choose({ provider: 'cpu' }, cuda);
      assert.deepEqual([provider, reason, problem], ['cpu', 'KIND_CPU in config.json', undefined]);
      assert.equal(
        (await choose({ provider: 'cuda' }, cpu)).problem,
        'config.json has an instance_group of KIND_GPU, but models of this server run on the CPU (no library)',
      );
      const broken = { ...cuda, problem: 'no driver' };
      assert.equal((await choose({ provider: 'cuda' }, broken)).problem, 'no driver');
    });
  });
});
