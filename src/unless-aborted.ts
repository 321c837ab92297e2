/**
 * What the promise gives, unless the signal is aborted first; the promise itself goes on then.
 *
 * @param left the error of one who does not wait any longer.
 */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  left: () => Error,
): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) throw left();
  let stop: (() => void) | undefined;
  try {
    return await new Promise<T>((resolve, reject) => {
      stop = () => reject(left());
      signal.addEventListener('abort', stop);
      promise.then(resolve, reject);
    });
  } finally {
    signal.removeEventListener('abort', stop!);
  }
}
