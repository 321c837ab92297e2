// Opens the start page of a running Shoal in a real browser.
//
//   node test/system/page/run.mjs [screenshot.png]     (needs Debian's `chromium`, or CHROMIUM=path, and a built dist/)
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

const root = path.resolve(import.meta.dirname, '../../..');
const { createServer } = await import(path.join(root, 'dist/src/index.js'));
const models = mkdtempSync(path.join(tmpdir(), 'shoal-page-'));
cpSync(path.join(root, 'models'), models, { recursive: true });
writeFileSync(path.join(models, 'not <b>a model.onnx'), 'this is no model');

const server = await createServer({ models, port: 0, logLevel: 'silent' });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-sync'],
});
try {
  const url = await server.listen();
  await server.loaded();
  const page = await browser.newPage({ viewport: { width: 1200, height: 700 } });
  const problems = [];
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('request', (request) => request.url().startsWith(url) || problems.push(`asked for ${request.url()}`));

  await page.goto(url);
  assert.match(await page.title(), /Shoal/);
  const text = await page.textContent('body');
  assert.match(text, /Not ready: model 'not <b>a model' is failed/);
  const rows = await page.locator('tbody tr').allInnerTexts();
  assert.equal(rows.length, 3);
  const row = (name) => rows.find((one) => one.startsWith(name));
  assert.match(row('language-id'), /ready[\s\S]*cpu[\s\S]*text: BYTES \[-1\][\s\S]*batched: rows answer/);
  assert.match(row('mnist-cnn'), /image: FP32 \[-1, 1, 28, 28\]/);
  assert.match(row('not <b>a model'), /failed[\s\S]*Protobuf parsing failed/);
  assert.equal(await page.locator('tbody b').count(), 0, 'a model name must not become markup');
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls sideways');
  await page.screenshot({ path: process.argv[2] ?? path.join(tmpdir(), 'shoal-page.png') });

  assert.deepEqual(problems, []);

  await page.click('text=mnist-cnn');
  assert.match(page.url(), /\/v2\/models\/mnist-cnn\/versions\/1$/);
  assert.equal(JSON.parse(await page.textContent('body')).name, 'mnist-cnn');

  // A page of another origin is refused, even with what browsers send without asking first.
  const other = createHttpServer((_request, reply) => reply.end('<title>another origin</title>')).listen(
    0,
    '127.0.0.1',
  );
  await once(other, 'listening');
  const stranger = await browser.newPage();
  await stranger.goto(`http://127.0.0.1:${other.address().port}/`);
  const answered = stranger.waitForResponse((reply) => reply.url().startsWith(url));
  await stranger.evaluate(
    (target) => fetch(target, { method: 'POST', mode: 'no-cors', body: '{}' }).then(() => undefined),
    `${url}/v2/models/mnist-cnn/infer`,
  );
  assert.equal((await answered).status(), 403);
  other.close();

  const narrow = await browser.newPage({ viewport: { width: 390, height: 800 }, colorScheme: 'dark' });
  await narrow.goto(url);
  assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'too wide for a phone');
  await narrow.screenshot({ path: `${process.argv[2] ?? path.join(tmpdir(), 'shoal-page.png')}.narrow.png` });
  process.stdout.write('page: opened in a browser, all as it should be\n');
} finally {
  await browser.close();
  await server.close();
  rmSync(models, { recursive: true });
}
