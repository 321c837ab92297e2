import { Type } from 'typebox';
import { Check } from 'typebox/value';
import { PROFILE_FORMAT, type Profile } from './profile.ts';

const AMOUNT = Type.Number({ minimum: 0 });
const COUNT = Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 });

const STORED = Type.Object({
  format: Type.Literal(PROFILE_FORMAT),
  model: Type.String(),
  version: Type.String(),
  key: Type.Object({
    digest: Type.String(),
    runtime: Type.String(),
    processor: Type.String(),
    cores: COUNT,
    provider: Type.String(),
    graphOptimization: Type.String(),
  }),
  measuredAt: Type.String(),
  batching: Type.String(),
  maxRows: COUNT,
  rowBytes: AMOUNT,
  splits: Type.Array(
    Type.Object({
      instances: COUNT,
      threads: COUNT,
      sizes: Type.Array(Type.Object({ rows: COUNT, runs: COUNT, ms: AMOUNT, highMs: AMOUNT, rowsPerSecond: AMOUNT }), {
        maxItems: 64,
      }),
      stop: Type.Enum(['flat', 'largest', 'memory', 'time', 'failed']),
      failure: Type.Optional(Type.String()),
    }),
    { minItems: 1, maxItems: 64 },
  ),
  best: Type.Object({ instances: COUNT, threads: COUNT }),
  kneeRows: COUNT,
  gain: AMOUNT,
  sentence: Type.String(),
});

/** The profile that a file holds; undefined when it is none of this form. */
export function readStored(value: unknown): Profile | undefined {
  if (!Check(STORED, value)) return undefined;
  const { format: _format, ...profile } = value;
  return profile;
}
