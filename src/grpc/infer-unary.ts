import { Metadata, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import type { Reply } from '../batching/request.ts';
import type { ShoalError } from '../errors.ts';
import { serverTiming } from '../protocol/server-timing.ts';
import { type InferCaller, InferExchange } from './infer-exchange.ts';
import type { GrpcParts } from './parts.ts';
import { statusOf } from './status.ts';

/** Answers `ModelInfer`, whose messages come and go encoded. */
export function inferUnary(
  parts: GrpcParts,
  call: ServerUnaryCall<Buffer, Buffer>,
  callback: sendUnaryData<Buffer>,
): void {
  const exchange = new InferExchange(parts, call.request, new UnaryCaller(call, callback));
  call.on('cancelled', () => exchange.leave());
  exchange.run();
}

class UnaryCaller implements InferCaller {
  readonly inStream = false;
  readonly deadlineAtMs: number;
  readonly #callback: sendUnaryData<Buffer>;

  constructor(call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
    this.deadlineAtMs = Number(call.getDeadline());
    this.#callback = callback;
  }

  replied(message: Buffer, answer: Reply, receivedMs: number, endMs: number): void {
    const trailers = new Metadata();
    trailers.set('server-timing', serverTiming(answer, endMs, endMs - receivedMs));
    this.#callback(null, message, trailers);
  }

  refused(error: ShoalError): void {
    this.#callback(statusOf(error));
  }
}
