/** Work for `offload()`, in tests. */

/** The sum of the numbers, after so much work that an event loop would notice. */
export function sum({ numbers, busyMs }: { readonly numbers: Float64Array; readonly busyMs: number }): number {
  const until = performance.now() + busyMs;
  while (performance.now() < until);
  return numbers.reduce((a, b) => a + b, 0);
}

export function fail(message: string): never {
  throw new TypeError(message);
}

/** Never ends. */
export function hang(): never {
  for (;;);
}
