// Bounded traffic of several kinds, counted by the clients.

const SENTENCES = [
  'Where is the nearest railway station, please?',
  'Wo ist bitte der nächste Bahnhof?',
  'Où se trouve la gare la plus proche, s’il vous plaît ?',
  '¿Dónde está la estación de tren más cercana, por favor?',
];
const CALLERS = 12;

/** Posts one inference and returns its status; the body is read to its end so that the connection can be used again. */
async function infer(base, model, request, signal) {
  const reply = await fetch(`${base}/v2/models/${model}/infer`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
    ...(signal ? { signal } : {}),
  });
  await reply.arrayBuffer();
  return reply.status;
}

const sentence = (i) => ({
  inputs: [{ name: 'text', datatype: 'BYTES', shape: [1], data: [SENTENCES[i % SENTENCES.length]] }],
});
const digit = (rows) => ({
  inputs: [
    {
      name: 'image',
      datatype: 'FP32',
      shape: [rows, 1, 28, 28],
      data: Array.from({ length: rows * 784 }, (_, i) => i % 2),
    },
  ],
});
const wrongShape = { inputs: [{ name: 'image', datatype: 'FP32', shape: [1, 1, 2, 2], data: [0, 0, 0, 0] }] };

/**
 * Twelve callers at once send good, wrong and abandoned requests for `durationMs`; each waits for its answer.
 *
 * Returns how many of each kind were answered as they should be; throws at the first answer of another status.
 */
export async function runTraffic(base, durationMs) {
  const sent = { languageOk: 0, digitsOk: 0, digitsInvalid: 0, unknownModel: 0, abandoned: 0 };
  const endAt = Date.now() + durationMs;
  const want = (status, wanted, key) => {
    if (status !== wanted) throw new Error(`${key}: status ${status}, expected ${wanted}`);
    sent[key] += 1;
  };
  await Promise.all(
    Array.from({ length: CALLERS }, async (_, caller) => {
      for (let i = caller; Date.now() < endAt; i += 1) {
        want(await infer(base, 'language-id', sentence(i)), 200, 'languageOk');
        want(await infer(base, 'mnist-cnn', digit(1 + (i % 3))), 200, 'digitsOk');
        if (i % 10 === 0) want(await infer(base, 'mnist-cnn', wrongShape), 400, 'digitsInvalid');
        if (i % 10 === 5) want(await infer(base, 'no-such-model', sentence(i)), 404, 'unknownModel');
        if (i % 50 === 7) {
          // Nobody can say on which side of the answer this caller leaves, so it is on a count of its own.
          await infer(base, 'mnist-cnn', digit(64), AbortSignal.timeout(1)).catch(() => undefined);
          sent.abandoned += 1;
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }),
  );
  return sent;
}
