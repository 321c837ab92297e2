import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { ShoalError } from '../errors.ts';
import { type InferCaller, InferExchange } from './infer-exchange.ts';
import { encodeStreamError } from './infer-reply.ts';
import type { GrpcParts } from './parts.ts';
import { streamError } from './status.ts';

/** Requests of one stream that may be under way, their replies not yet taken by the client. */
const MAX_UNDER_WAY = 256;

/**
 * One `ModelStreamInfer`: each request has one reply, in the order of the requests, an error among them as its
 * `error_message`. Requests of a stream run side by side; what they have in common is the deadline and the end.
 */
export class InferStream {
  readonly #parts: GrpcParts;
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  /** In the order of the requests, the reply once there is one. */
  readonly #slots: Slot[] = [];
  #underWay = 0;
  #isEnding = false;
  #drained: ShoalError | undefined;
  #isOver = false;
  readonly #onOver: () => void;

  /** @param onOver called once, when the stream has ended in any way. */
  constructor(parts: GrpcParts, call: ServerDuplexStream<Buffer, Buffer>, onOver: () => void) {
    this.#parts = parts;
    this.#call = call;
    this.#onOver = onOver;
    call.on('data', (message: Buffer) => this.#begin(message));
    call.on('end', () => {
      this.#isEnding = true;
      this.#flush();
    });
    call.on('cancelled', () => {
      this.#over();
      for (const { exchange } of this.#slots.splice(0)) exchange?.leave();
    });
  }

  /** Takes no more requests; ends the stream with `error` when those under way have been answered. */
  drain(error: ShoalError): void {
    this.#drained ??= error;
    this.#call.pause();
    this.#flush();
  }

  #begin(message: Buffer): void {
    if (this.#isOver || this.#drained !== undefined) return;
    const slot = new Slot(Number(this.#call.getDeadline()), () => this.#flush());
    this.#slots.push(slot);
    this.#underWay++;
    if (this.#underWay >= MAX_UNDER_WAY) this.#call.pause();
    slot.exchange = new InferExchange(this.#parts, message, slot);
    slot.exchange.run();
  }

  #flush(): void {
    for (let reply = this.#slots[0]?.reply; reply !== undefined; reply = this.#slots[0]?.reply) {
      this.#slots.shift();
      if (!this.#isOver) this.#call.write(reply, () => this.#written());
    }
    if (this.#underWay > 0 || this.#isOver) return;
    if (this.#drained !== undefined) this.#end(this.#drained);
    else if (this.#isEnding) this.#end(undefined);
  }

  #written(): void {
    this.#underWay--;
    if (this.#underWay < MAX_UNDER_WAY && this.#drained === undefined && !this.#isOver) this.#call.resume();
    this.#flush();
  }

  #end(error: ShoalError | undefined): void {
    this.#over();
    if (error === undefined) this.#call.end();
    else this.#call.emit('error', streamError(error));
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#onOver();
  }
}

/** The place of a reply in its stream. */
class Slot implements InferCaller {
  readonly inStream = true;
  readonly deadlineAtMs: number;
  exchange: InferExchange | undefined;
  reply: Buffer | undefined;
  readonly #onReply: () => void;

  constructor(deadlineAtMs: number, onReply: () => void) {
    this.deadlineAtMs = deadlineAtMs;
    this.#onReply = onReply;
  }

  replied(message: Buffer): void {
    this.reply = message;
    this.#onReply();
  }

  refused(error: ShoalError, exchange: InferExchange): void {
    this.reply = encodeStreamError(error.message, exchange.id);
    this.#onReply();
  }
}
