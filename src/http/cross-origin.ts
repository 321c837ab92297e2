import { ShoalError } from '../errors.ts';

/**
 * Refuses what a page of another origin sends through somebody's browser: such a page could otherwise reach a server
 * that listens on the reader's own machine. Programs send no Origin and are not affected.
 *
 * @throws {ShoalError} CROSS_ORIGIN.
 */
export function refuseCrossOrigin(origin: string | undefined, host: string | undefined): void {
  if (origin === undefined) return;
  const from = hostOf(origin);
  const own = host?.toLowerCase();
  // A default port is left out of an Origin and may stand in a Host.
  if (from !== '' && own !== undefined && (from === own || from === own.replace(/:(80|443)$/, ''))) return;
  throw new ShoalError(
    'CROSS_ORIGIN',
    `requests from pages of another origin (${origin}) are refused; let a proxy allow them`,
  );
}

/** Empty for `null`, the origin of a sandboxed page or a file, which belongs to nobody. */
function hostOf(origin: string): string {
  try {
    return new URL(origin).host;
  } catch {
    return '';
  }
}
