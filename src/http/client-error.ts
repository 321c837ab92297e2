import type { Socket } from 'node:net';
import { type ErrorCode, STATUS } from '../errors.ts';
import { ERROR_CODE_HEADER, JSON_TYPE } from './replies.ts';

const CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['HEADERS_TOO_LARGE', 'the request headers are larger than 16 KiB'],
  ERR_HTTP_REQUEST_TIMEOUT: ['BODY_TIMEOUT', 'the request took too long to arrive'],
};

/** Answers what Node's HTTP parser refuses before there is a request, in the form of every other error. */
export function answerClientError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [code, text] = CODES[error.code ?? ''] ?? [
    'INVALID_REQUEST',
    `this is not a well-formed HTTP request: ${error.message}`,
  ];
  const body = JSON.stringify({ error: text });
  const status = STATUS[code];
  socket.end(
    `HTTP/1.1 ${status} ${status === 408 ? 'Request Timeout' : status === 431 ? 'Request Header Fields Too Large' : 'Bad Request'}\r\n` +
      `content-type: ${JSON_TYPE}\r\n${ERROR_CODE_HEADER}: ${code}\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
