import type { FastifyRequest } from 'fastify';
import { invalid, messageOf } from '../errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * The JSON object that is the body of a small request; an empty body is an empty object.
 *
 * @throws {ShoalError} INVALID_REQUEST for anything else.
 */
export function readObject({ body }: FastifyRequest): JsonObject {
  const text = Buffer.isBuffer(body) ? body.toString() : '';
  if (text === '') return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    throw invalid(`the body is not valid JSON: ${messageOf(thrown)}`);
  }
  if (!isObject(value)) throw invalid(`the body is ${excerpt(value)}, expected an object`);
  return value;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value as short text for messages. */
export function excerpt(value: unknown): string {
  const text = JSON.stringify(value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
