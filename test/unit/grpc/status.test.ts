import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { status } from '@grpc/grpc-js';
import { type ErrorCode, ShoalError } from '../../../src/errors.ts';
import { GRPC_STATUS, publicError, statusOf } from '../../../src/grpc/status.ts';
import { createLogger } from '../../../src/logging.ts';
import { REPOSITORY_ROOT } from '../../support/root.ts';

/** Codes that only HTTP has. */
const HTTP_ONLY: readonly ErrorCode[] = [
  'CROSS_ORIGIN',
  'METHOD_NOT_ALLOWED',
  'BODY_TIMEOUT',
  'UNSUPPORTED_ENCODING',
  'UNSUPPORTED_MEDIA_TYPE',
  'HEADERS_TOO_LARGE',
  'CONFLICT',
  'STORAGE_FAILED',
];

describe('the status of errors over gRPC', () => {
  it('is what the user documentation says', () => {
    const page = readFileSync(path.join(REPOSITORY_ROOT, 'docs/grpc.md'), 'utf8');
    const table = page.slice(page.indexOf('| status | codes |'));
    const told = new Map<string, string>();
    for (const [, name, codes] of table.matchAll(/^\| `(\w+)` \| (.*) \|$/gm)) {
      for (const [, code] of codes!.matchAll(/`(\w+)`/g)) told.set(code!, name!);
    }
    const real = Object.entries(GRPC_STATUS).filter(([code]) => !HTTP_ONLY.includes(code as ErrorCode));
    assert.deepEqual([...told].sort(), real.map(([code, number]) => [code, status[number]]).sort());
  });

  it('has trailers with the code, and when to come back', () => {
    const { code, details, metadata } = statusOf(new ShoalError('QUEUE_FULL', 'full', { retryAfterSeconds: 2 }));
    assert.deepEqual([code, details], [status.RESOURCE_EXHAUSTED, 'full']);
    assert.deepEqual(metadata.getMap(), { 'shoal-error-code': 'QUEUE_FULL', 'grpc-retry-pushback-ms': '2000' });
  });

  it('has a text that can be sent as a trailer, however long it was and whatever was in it', () => {
    const { details } = statusOf(new ShoalError('INVALID_REQUEST', `\ud800${'é'.repeat(100_000)}`));
    assert.ok(encodeURI(details).length < 8000);
  });

  it('says of a fault of the server only that it is one, and logs it', () => {
    const lines: string[] = [];
    const logger = createLogger(
      { logLevel: 'error' },
      { destination: { write: (line: string) => void lines.push(line) } },
    );
    const error = publicError(new TypeError('secret'), logger);
    assert.deepEqual([error.code, error.message.includes('secret')], ['INTERNAL', false]);
    assert.match(lines[0]!, /secret/);
  });
});
