import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type ErrorCode, STATUS } from '../errors.ts';
import { ERROR_CODE_HEADER, JSON_TYPE } from './replies.ts';

const CODES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['HEADERS_TOO_LARGE', 'the request headers are larger than 16 KiB'],
  ERR_HTTP_REQUEST_TIMEOUT: [
    'BODY_TIMEOUT',
    'the request took too long to arrive: its headers, or headers and body together',
  ],
};

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

/** How long a client may take to close its side after such an answer. */
const LINGER_MS = 2000;

type ClientError = Error & { code?: string };

/** Node keeps the response a connection is busy with here; its own answer to such errors looks at it, too. */
type BusySocket = Socket & { _httpMessage?: ServerResponse | null };

/** Connections that have an error to be answered as soon as what came before it is. */
const waiting: WeakSet<Socket> = new WeakSet();

/** Answers what Node's HTTP parser refuses before there is a request, in the form of every other error. */
export function answerClientError(error: ClientError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  // What follows on a connection that is out of step is an error of the same kind.
  if (!waiting.has(socket)) answerInTurn(error, socket);
}

/** Answers the error once all sound requests that came before it on the connection have been answered. */
function answerInTurn(error: ClientError, socket: BusySocket): void {
  const response = socket._httpMessage;
  if (response?.req.complete) {
    waiting.add(socket);
    response.once('close', () => {
      if (socket.writable) answerInTurn(error, socket);
    });
    return;
  }
  // It is the rest of a request that is wrong or late; its answer may have begun.
  if (response?.headersSent) socket.destroy();
  else writeError(error, socket);
}

/** Answers CONNECT, which asks for a tunnel through this server; Node would end the connection without a word. */
export function answerConnect({ method }: IncomingMessage, socket: Socket): void {
  writeAnswer(socket, 'METHOD_NOT_ALLOWED', `${method} is not allowed here, only GET, HEAD, POST`, ALLOW);
}

const ALLOW = 'allow: GET, HEAD, POST\r\n';

function writeError(error: ClientError, socket: Socket): void {
  const [code, text] = CODES[error.code ?? ''] ?? [
    'INVALID_REQUEST',
    `this is not a well-formed HTTP request: ${error.message}`,
  ];
  writeAnswer(socket, code, text, '');
}

function writeAnswer(socket: Socket, code: ErrorCode, text: string, header: string): void {
  const body = JSON.stringify({ error: text });
  const status = STATUS[code];
  socket.end(
    `HTTP/1.1 ${status} ${REASONS[status]}\r\n` +
      `content-type: ${JSON_TYPE}\r\n${ERROR_CODE_HEADER}: ${code}\r\nconnection: close\r\n${header}` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
  // Node no longer looks after such a connection; one whose client keeps its side open would stay for ever.
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once('close', () => clearTimeout(timer));
  // Its end is noticed only by who reads on.
  socket.resume();
}
