import type { FastifyReply, FastifyRequest } from 'fastify';
import type { HttpParts } from './parts.ts';

/** A log line for each answer, for as long as the log shows *debug*; its level may change while the server runs. */
export class AnswerLog {
  readonly #parts: Pick<HttpParts, 'logger' | 'clock'>;
  readonly #update: () => void;
  /** Whether requests are to be watched. */
  isOn = false;

  constructor(parts: Pick<HttpParts, 'logger' | 'clock'>) {
    this.#parts = parts;
    this.#update = () => {
      this.isOn = parts.logger.isLevelEnabled('debug');
    };
    this.#update();
    parts.logger.on('level-change', this.#update);
  }

  /** Writes the line when the request has been answered, or its connection has ended. */
  watch(request: FastifyRequest, reply: FastifyReply, receivedMs: number): void {
    const { logger, clock } = this.#parts;
    const { id, method, url, headers } = request;
    const { traceparent } = headers;
    reply.raw.once('close', () => {
      const ms = clock.now() - receivedMs;
      logger.debug({ reqId: id, traceparent, method, url, status: reply.raw.statusCode, ms }, 'answered');
    });
  }

  close(): void {
    this.#parts.logger.off('level-change', this.#update);
  }
}
