// Opens /docs of a running Shoal in a real browser, tries a request, and looks at the answer.
//
//   node test/system/docs-page/run.mjs [folder for screenshots]  (needs Debian's `chromium`, or CHROMIUM=path, and dist/)
import assert from 'node:assert/strict';
import { createServer as createHttpServer, request as send } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fastify } from 'fastify';
import { chromium } from 'playwright-core';

const root = path.resolve(import.meta.dirname, '../../..');
const { Service } = await import(path.join(root, 'dist/src/index.js'));
const shots = process.argv[2] ?? tmpdir();

// Below a prefix in another app, and behind a proxy that takes another prefix off: /outer/v2 asks the app for /ml/v2.
const service = await Service.create({ models: path.join(root, 'models'), logLevel: 'silent' });
const app = fastify();
app.register(service.plugin, { prefix: '/ml' });
const direct = await app.listen({ port: 0, host: '127.0.0.1' });
const proxy = createHttpServer((incoming, outgoing) => {
  const target = new URL(`${direct}${incoming.url.replace(/^\/outer/, '/ml')}`);
  const headers = { ...incoming.headers, host: target.host };
  // A page's requests would be those of another origin otherwise.
  delete headers.origin;
  const onward = send(target, { method: incoming.method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  incoming.pipe(onward);
}).listen(0, '127.0.0.1');
await new Promise((resolve) => proxy.once('listening', resolve));
const proxied = `http://127.0.0.1:${proxy.address().port}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-sync'],
});

/** A page that notes everything that is wrong with it. */
async function open(url, options) {
  const page = await browser.newPage(options);
  const problems = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('request', (request) => {
    if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(new URL(url).origin)) {
      problems.push(`asked for ${request.url()}`);
    }
  });
  await page.goto(url);
  await page.waitForSelector('.opblock');
  return { page, problems };
}

/** Presses "Try it out" and "Execute" in an operation; gives the status and the body that the page shows. */
async function execute(page, target) {
  const operation = page.locator('.opblock', { has: page.locator(`[data-path="${target}"]`) });
  await operation.locator('.opblock-summary-control').click();
  await operation.getByRole('button', { name: 'Try it out' }).click();
  await operation.getByRole('button', { name: 'Execute' }).click();
  const answer = operation.locator('.live-responses-table .response');
  await answer.waitFor();
  const status = await answer.locator('.response-col_status').textContent();
  const body = await answer.locator('.response-col_description .highlight-code code').first().textContent();
  return { operation, status: status.trim(), body };
}

try {
  await service.loaded();

  const { page, problems } = await open(`${direct}/ml/docs`, { viewport: { width: 1200, height: 900 } });
  assert.match(await page.title(), /Shoal/);
  for (const name of ['language-id', 'mnist-cnn']) {
    assert.equal(await page.locator(`[data-path="/v2/models/${name}/infer"]`).count(), 1, name);
  }
  await page.screenshot({ path: path.join(shots, 'docs.png') });

  const digit = await execute(page, '/v2/models/mnist-cnn/infer');
  assert.equal(digit.status, '200');
  const reply = JSON.parse(digit.body);
  assert.equal(reply.model_name, 'mnist-cnn');
  const zeros = { name: 'image', shape: [1, 1, 28, 28], datatype: 'FP32', data: Array(784).fill(0) };
  const infer = await fetch(`${direct}/ml/v2/models/mnist-cnn/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs: [zeros] }),
  });
  assert.deepEqual(reply, await infer.json(), 'the page shows what the server answers');
  assert.ok(reply.outputs[0].data.length > 0);

  // What somebody writes into the field is what is sent.
  const text = await (async () => {
    const operation = page.locator('.opblock', { has: page.locator('[data-path="/v2/models/language-id/infer"]') });
    await operation.locator('.opblock-summary-control').click();
    await operation.getByRole('button', { name: 'Try it out' }).click();
    const field = operation.locator('textarea.body-param__text');
    await field.fill((await field.inputValue()).replace('hello', 'Guten Morgen, wie geht es dir?'));
    await operation.getByRole('button', { name: 'Execute' }).click();
    const answer = operation.locator('.live-responses-table .response');
    await answer.waitFor();
    await operation.screenshot({ path: path.join(shots, 'docs-operation.png') });
    return answer.locator('.response-col_description .highlight-code code').first().textContent();
  })();
  const language = JSON.parse(text).outputs.find((output) => output.name === 'language');
  assert.deepEqual(language.data, ['deu']);

  const statistics = await execute(page, '/v2/models/stats');
  assert.equal(statistics.status, '200');
  assert.equal(JSON.parse(statistics.body).model_stats.length, 2);
  assert.deepEqual(problems, []);

  const behind = await open(`${proxied}/outer/docs/`, { viewport: { width: 1200, height: 900 } });
  const alive = await execute(behind.page, '/v2/models/language-id/infer');
  assert.equal(alive.status, '200');
  assert.equal(JSON.parse(alive.body).model_name, 'language-id');
  assert.deepEqual(behind.problems, []);
  await behind.page.click('text=openapi.json');
  assert.equal(JSON.parse(await behind.page.textContent('body')).openapi, '3.1.0');

  const phone = await open(`${direct}/ml/docs`, { viewport: { width: 390, height: 800 } });
  const tooWide = await phone.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(tooWide <= 0, `${tooWide} pixels too wide for a phone`);
  await phone.page.screenshot({ path: path.join(shots, 'docs-phone.png') });
  assert.deepEqual(phone.problems, []);

  process.stdout.write('docs-page: tried in a browser, all as it should be\n');
} finally {
  await browser.close();
  proxy.closeAllConnections();
  proxy.close();
  await app.close();
}
