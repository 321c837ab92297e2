import { ShoalError } from '../errors.ts';

/**
 * Refuses what a page of another origin sends through somebody's browser: such a page could otherwise reach a server
 * that listens on the reader's own machine. Programs send no Origin and are not affected.
 *
 * @throws {ShoalError} CROSS_ORIGIN.
 */
export function refuseCrossOrigin(origin: string | undefined, host: string | undefined): void {
  if (origin === undefined) return;
  let originHost: string | undefined;
  try {
    originHost = new URL(origin).host;
  } catch {
    // `null`, of a sandboxed page or a file, belongs to nobody.
  }
  // A default port is left out of an Origin and may stand in a Host.
  if (originHost !== undefined && host !== undefined && originHost === host.toLowerCase().replace(/:(80|443)$/, ''))
    return;
  if (originHost !== undefined && originHost === host?.toLowerCase()) return;
  throw new ShoalError(
    'CROSS_ORIGIN',
    `requests from pages of another origin (${origin}) are refused; let a proxy allow them`,
  );
}
