import fc from 'fast-check';

/** Changes to texts and bytes; numbers choose a place, modulo how many there are. */

/** A change to a text that has been cut into tokens. */
export interface TokenMutation {
  readonly kind: 'delete' | 'double' | 'swap' | 'replace' | 'insert';
  readonly at: number;
  readonly other: number;
  readonly token: string;
}

/** A change to bytes. */
export interface ByteMutation {
  readonly kind: 'flip' | 'set' | 'insert' | 'delete' | 'cut' | 'repeat';
  readonly at: number;
  readonly value: number;
}

/** Mostly none or one, now and then a few. */
export function someOf<T>(arbitrary: fc.Arbitrary<T>, most: number): fc.Arbitrary<readonly T[]> {
  return fc.oneof(
    { weight: 2, arbitrary: fc.constant<readonly T[]>([]) },
    { weight: 3, arbitrary: fc.array(arbitrary, { minLength: 1, maxLength: 1 }) },
    { weight: 1, arbitrary: fc.array(arbitrary, { minLength: 2, maxLength: most }) },
  );
}

/** @param dictionary tokens to put in. */
export function tokenMutation(dictionary: readonly string[]): fc.Arbitrary<TokenMutation> {
  return fc.record({
    kind: fc.constantFrom('delete' as const, 'double', 'swap', 'replace', 'replace', 'replace', 'insert'),
    at: fc.nat(),
    other: fc.nat(),
    token: fc.oneof(fc.constantFrom(...dictionary), fc.string({ unit: 'binary', maxLength: 5 })),
  });
}

export const byteMutation: fc.Arbitrary<ByteMutation> = fc.record({
  kind: fc.constantFrom('flip' as const, 'set', 'insert', 'delete', 'cut', 'repeat'),
  at: fc.nat(),
  value: fc.oneof(fc.constantFrom(0, 0x20, 0x22, 0x5c, 0x7f, 0x80, 0xff), fc.nat(255)),
});

export function mutateTokens(tokens: readonly string[], mutations: readonly TokenMutation[]): string[] {
  const out = [...tokens];
  for (const { kind, at, other, token } of mutations) {
    const i = at % Math.max(1, out.length);
    const j = other % Math.max(1, out.length);
    if (kind === 'delete') out.splice(i, 1);
    else if (kind === 'double') out.splice(i, 0, ...out.slice(i, i + 1 + (other % 4)));
    else if (kind === 'swap' && out.length > 0) [out[i], out[j]] = [out[j]!, out[i]!];
    else if (kind === 'replace') out[i] = token;
    else out.splice(i, 0, token);
  }
  return out;
}

export function mutateBytes(bytes: Uint8Array, mutations: readonly ByteMutation[]): Buffer {
  let out = Buffer.from(bytes);
  for (const { kind, at, value } of mutations) {
    const i = at % Math.max(1, out.length);
    const [before, after] = [out.subarray(0, i), out.subarray(i)];
    if (kind === 'flip' && out.length > 0) out[i]! ^= 1 << (value & 7);
    else if (kind === 'set' && out.length > 0) out[i] = value;
    else if (kind === 'delete') out = Buffer.concat([before, after.subarray(1 + (value & 3))]);
    else if (kind === 'cut') out = Buffer.from(before);
    else if (kind === 'repeat') out = Buffer.concat([before, after, after]);
    else out = Buffer.concat([before, Buffer.of(value), after]);
  }
  return out;
}
