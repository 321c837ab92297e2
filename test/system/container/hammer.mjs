// Asks a running server from eight kept-alive connections until it refuses new ones, and counts what came back.
//
//   node hammer.mjs PORT READY_FILE
//
// READY_FILE is created after the first hundred answers. The last line says what was counted; the exit code is 1 when a
// request that had been sent got no answer, or an answer was wrong.
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';

const [port, readyFile] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 8 });
const body = JSON.stringify({
  inputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: ['Where is the nearest railway station, please?'] }],
  outputs: [{ name: 'language' }],
});
const giveUpAt = Date.now() + 60_000;
const counts = { answered: 0, unavailable: 0, refused: 0, lost: 0 };
const wrong = [];
let expected;

/** Resolves to the status and body of one reply, or to the code of the error that ended the request. */
function ask() {
  return new Promise((resolve) => {
    const call = request(
      { agent, port, host: '127.0.0.1', method: 'POST', path: '/v2/models/language-id/infer' },
      (reply) => {
        let text = '';
        reply.setEncoding('utf8');
        reply.on('data', (part) => {
          text += part;
        });
        reply.on('end', () => resolve({ status: reply.statusCode, text }));
        reply.on('error', (error) => resolve({ error: error.code }));
      },
    );
    call.setHeader('content-type', 'application/json');
    call.on('error', (error) => {
      // A new connection that is reset without an answer was never accepted: the listener closed with it in its backlog.
      resolve({ error: call.reusedSocket ? error.code : 'ECONNREFUSED' });
    });
    call.end(body);
  });
}

async function caller() {
  while (Date.now() < giveUpAt) {
    const { status, text, error } = await ask();
    if (error === 'ECONNREFUSED') {
      counts.refused += 1;
      return;
    }
    if (error !== undefined) counts.lost += 1;
    else if (status === 503) counts.unavailable += 1;
    else if (status === 200) {
      counts.answered += 1;
      const language = JSON.parse(text).outputs?.[0]?.data?.[0];
      expected ??= language;
      if (typeof language !== 'string' || language !== expected) wrong.push(text);
      if (counts.answered === 100) writeFileSync(readyFile, '');
    } else wrong.push(`${status} ${text}`);
  }
  wrong.push('the server went on accepting for a minute');
}

await Promise.all(Array.from({ length: 8 }, caller));
process.stdout.write(`${JSON.stringify(counts)}\n`);
if (wrong.length > 0) process.stdout.write(`wrong: ${wrong[0]}\n`);
process.exitCode = wrong.length > 0 || counts.lost > 0 || counts.answered < 100 ? 1 : 0;
