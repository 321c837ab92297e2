import { readFileSync } from 'node:fs';
import { fastify } from 'fastify';
import type { Encoding } from '../cases.ts';
import { readSettings, serve } from './program.ts';

/** Fastify alone: a route that takes the raw body and gives a fixed reply, of the size that Shoal's replies have. */

/** Settings of this program: by encoding the file that holds the reply's body. */
export type EchoSettings = Readonly<Record<Encoding, string>>;

const CONTENT_TYPES: Readonly<Record<Encoding, string>> = {
  json: 'application/json',
  binary: 'application/octet-stream',
};

const replies = readSettings<EchoSettings>();
const app = fastify({ bodyLimit: 64 * 1024 * 1024 });
app.removeAllContentTypeParsers();
app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
for (const encoding of ['json', 'binary'] as const) {
  const body = readFileSync(replies[encoding]);
  const contentType = CONTENT_TYPES[encoding];
  app.post(`/${encoding}`, (_request, reply) => reply.header('content-type', contentType).send(body));
}

await serve(app);
