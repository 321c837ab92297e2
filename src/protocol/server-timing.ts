import type { AnswerPart, Reply, Stamps } from '../batching/request.ts';

/**
 * The `Server-Timing` header of an answer: its stages in milliseconds, which add up to the total, how its batch came
 * about, and what of the batch's compute is this answer's share. The total is stamped on its own, from the headers read to the reply handed to the socket.
 */
export function serverTiming(reply: Reply, endMs: number, totalMs: number): string {
  const { stamps, batch, costMs, parts } = reply;
  if (parts !== undefined) return partsTiming(stamps, parts, endMs, totalMs);
  const compute = stamps.computeEndMs - stamps.computeStartMs;
  return (
    fetchPart(stamps.fetchMs) +
    `decode;dur=${round(stamps.enqueuedMs - stamps.receivedMs - stamps.fetchMs)}, ` +
    `queue;dur=${round(stamps.dispatchedMs - stamps.enqueuedMs)}, ` +
    `handover;dur=${round(stamps.computeStartMs - stamps.dispatchedMs)}, ` +
    `compute;dur=${round(compute)};desc="rows=${batch.rows} requests=${batch.requests} reason=${batch.reason} ` +
    `share=${round(costMs)}", ` +
    `handback;dur=${round(stamps.settledMs - stamps.computeEndMs)}, ` +
    `encode;dur=${round(endMs - stamps.settledMs)}, ` +
    `total;dur=${round(totalMs)}`
  );
}

/** The header of an answer that came from several runs; its parts overlap, and make up the time between decode and encode. */
function partsTiming(stamps: Readonly<Stamps>, parts: readonly AnswerPart[], endMs: number, totalMs: number): string {
  const entries = parts.map(({ name, ms, description }) => {
    const desc = description === '' ? '' : `;desc="${description}"`;
    return `${name};dur=${round(ms)}${desc}`;
  });
  return [
    `${fetchPart(stamps.fetchMs)}decode;dur=${round(stamps.enqueuedMs - stamps.receivedMs - stamps.fetchMs)}`,
    `run;dur=${round(stamps.settledMs - stamps.enqueuedMs)}`,
    ...entries,
    `encode;dur=${round(endMs - stamps.settledMs)}`,
    `total;dur=${round(totalMs)}`,
  ].join(', ');
}

/**
 * The header of an error: how far the request came, and the total.
 *
 * @param fetchMs how long its inputs were fetched, where it was not queued.
 */
export function errorTiming(
  receivedMs: number,
  stamps: Readonly<Stamps> | undefined,
  endMs: number,
  fetchMs: number = stamps?.fetchMs ?? 0,
): string {
  const total = `total;dur=${round(endMs - receivedMs)}`;
  if (stamps === undefined) return `${fetchPart(fetchMs)}decode;dur=${round(endMs - receivedMs - fetchMs)}, ${total}`;
  const decode = `${fetchPart(fetchMs)}decode;dur=${round(stamps.enqueuedMs - receivedMs - fetchMs)}`;
  if (stamps.dispatchedMs === 0) return `${decode}, queue;dur=${round(endMs - stamps.enqueuedMs)}, ${total}`;
  const queue = `queue;dur=${round(stamps.dispatchedMs - stamps.enqueuedMs)}`;
  return `${decode}, ${queue}, compute;dur=${round(endMs - stamps.dispatchedMs)}, ${total}`;
}

/** Only of requests that waited for what they had not brought along. */
function fetchPart(fetchMs: number): string {
  return fetchMs > 0 ? `fetch;dur=${round(fetchMs)}, ` : '';
}

/** `.000` to `.999`: looked up, since a number with a fraction takes several times as long to write. */
const FRACTIONS = Array.from({ length: 1000 }, (_, i) => `.${String(i).padStart(3, '0')}`);

/** Three decimals: microseconds. */
function round(ms: number): string {
  const us = Math.max(0, Math.round(ms * 1000));
  const fraction = us % 1000;
  return (us - fraction) / 1000 + FRACTIONS[fraction]!;
}
