// Lets a real Prometheus scrape a real Shoal under traffic, with the rules and the dashboard of deploy/.
//
//   node test/system/prometheus/run.mjs        (needs `prometheus` and `promtool` on the path, and a built dist/)
//
// Checked: the rule files and their unit tests; the text format; that every rule and every query of the dashboard
// evaluates without error and finds data; and that the counters agree with what the clients counted themselves.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dashboardQueries } from './dashboard.mjs';
import { runTraffic } from './traffic.mjs';

const root = path.resolve(import.meta.dirname, '../../..');
const deploy = path.join(root, 'deploy');
const work = mkdtempSync(path.join(tmpdir(), 'shoal-prometheus-'));
const say = (text) => process.stdout.write(`prometheus: ${text}\n`);
const children = [];

/** Runs a command to its end, which must be one of these exit codes. */
function check(command, args, { input, codes = [0] } = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input, encoding: 'utf8' });
  assert.equal(error, undefined, `${command}: ${error?.message}`);
  assert.ok(codes.includes(status), `${command} ${args.join(' ')}: ${status}\n${stdout}${stderr}`);
  return `${stdout}${stderr}`;
}

/** A port of the loopback interface that was free a moment ago. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a program that belongs to this test; its output is kept for the report of a failure. */
function start(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: root });
  child.log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (child.log += part));
  children.push(child);
  return child;
}

/** Asks again until `probe` returns something other than undefined. */
async function until(what, timeoutMs, probe) {
  const giveUpAt = Date.now() + timeoutMs;
  for (;;) {
    const found = await probe().catch(() => undefined);
    if (found !== undefined) return found;
    const dead = children.find((child) => child.exitCode !== null);
    assert.equal(dead, undefined, `${dead?.spawnargs.join(' ')} ended with ${dead?.exitCode}:\n${dead?.log}`);
    assert.ok(Date.now() < giveUpAt, `${what} took longer than ${timeoutMs} ms`);
    await sleep(100);
  }
}

async function main() {
  check('promtool', ['check', 'config', path.join(deploy, 'prometheus/prometheus.yml')]);
  check('promtool', ['test', 'rules', path.join(deploy, 'prometheus/rules.test.yml')]);
  say('configuration, rules and their unit tests pass');

  const shoalPort = await freePort();
  const prometheusPort = await freePort();
  const shoal = `http://127.0.0.1:${shoalPort}`;
  const api = `http://127.0.0.1:${prometheusPort}/api/v1`;
  start(process.execPath, [
    path.join(root, 'dist/src/main.js'),
    'serve',
    path.join(root, 'models'),
    '--port',
    `${shoalPort}`,
    '--triton-metrics',
  ]);
  await until('the start of Shoal', 30_000, async () =>
    (await fetch(`${shoal}/v2/health/ready`)).ok ? true : undefined,
  );

  // The very first scrape shows zeros, so that rates and increases see the first event.
  const untouched = await (await fetch(`${shoal}/metrics`)).text();
  for (const model of ['language-id', 'mnist-cnn']) {
    for (const outcome of ['ok', 'rejected', 'expired', 'cancelled', 'failed', 'lost', 'invalid']) {
      const zero = new RegExp(`^shoal_requests_total\\{[^}]*model="${model}"[^}]*outcome="${outcome}"[^}]*\\} 0$`, 'm');
      assert.match(untouched, zero, `the first scrape has no zero for ${model} ${outcome}`);
    }
    assert.match(untouched, new RegExp(`^shoal_executor_restarts_total\\{[^}]*model="${model}"[^}]*\\} 0$`, 'm'));
  }

  // deploy/prometheus/prometheus.yml itself, with this server as the target and shorter intervals.
  const config = readFileSync(path.join(deploy, 'prometheus/prometheus.yml'), 'utf8')
    .replace(/(["'])shoal:8000\1/, `'127.0.0.1:${shoalPort}'`)
    .replace(/_interval: 15s/g, '_interval: 1s');
  assert.ok(config.includes(`127.0.0.1:${shoalPort}`));
  writeFileSync(path.join(work, 'prometheus.yml'), config);
  writeFileSync(path.join(work, 'rules.yml'), readFileSync(path.join(deploy, 'prometheus/rules.yml')));
  start('prometheus', [
    `--config.file=${path.join(work, 'prometheus.yml')}`,
    `--storage.tsdb.path=${path.join(work, 'data')}`,
    `--web.listen-address=127.0.0.1:${prometheusPort}`,
  ]);

  /** One call of Prometheus' interface; throws what it reports as an error. */
  async function ask(route, parameters = {}) {
    const reply = await (await fetch(`${api}/${route}?${new URLSearchParams(parameters)}`)).json();
    assert.equal(reply.status, 'success', `${route} ${JSON.stringify(parameters)}: ${reply.error}`);
    return reply.data;
  }
  const sample = async (query) => Number((await ask('query', { query })).result[0]?.value[1]);

  await until('the first scrape', 30_000, async () => ((await sample('up{job="shoal"}')) === 1 ? true : undefined));
  const sent = await runTraffic(shoal, 12_000);
  say(`traffic: ${JSON.stringify(sent)}`);

  const text = await (await fetch(`${shoal}/metrics`)).text();
  // Triton's names break Prometheus' customs, which is all that may be said of them.
  const complaints = check('promtool', ['check', 'metrics'], { input: text, codes: [0, 3] }).split('\n');
  const unexpected = complaints.filter(
    (line) => line !== '' && !/^nv_\w+ .*(suffix|abbreviated|type 'hist)/.test(line),
  );
  assert.deepEqual(unexpected, [], 'promtool check metrics');
  assert.ok(!text.includes('no-such-model'), "an unknown model's name became a label");
  say("promtool check metrics complains of nothing but Triton's names");

  const [target] = (await ask('targets')).activeTargets;
  assert.equal(target.health, 'up', target.lastError);

  // Counted by the clients, scraped by Prometheus. A caller who left may have been answered just before.
  const counted = (model, outcome) => sample(`sum(shoal_requests_total{model="${model}",outcome="${outcome}"})`);
  await until('the last scrape', 10_000, async () =>
    (await counted('language-id', 'ok')) === sent.languageOk ? true : undefined,
  );
  assert.equal(await counted('mnist-cnn', 'invalid'), sent.digitsInvalid);
  const digitsOk = await counted('mnist-cnn', 'ok');
  assert.ok(digitsOk >= sent.digitsOk && digitsOk <= sent.digitsOk + sent.abandoned, `${digitsOk} digits`);
  assert.equal(await sample('sum(shoal_request_duration_seconds_count)'), await sample('sum(shoal_requests_total)'));
  assert.ok((await sample('sum(shoal_batch_rows_sum) / sum(shoal_batch_rows_count)')) > 1, 'nothing was batched');
  for (const [triton, ours] of [
    ['nv_inference_request_success', 'shoal_requests_total{outcome="ok"}'],
    ['nv_inference_exec_count', 'shoal_batches_total'],
    ['nv_inference_request_failure{reason="CANCELED"}', 'shoal_cancelled_total'],
  ]) {
    const difference = `sum by (model) (${triton}) != sum by (model) (${ours})`;
    assert.deepEqual((await ask('query', { query: difference })).result, [], difference);
  }
  say("the counters agree with the clients, and Triton's with ours");

  const { groups } = await ask('rules');
  const rules = groups.flatMap((group) => group.rules);
  const unitTests = readFileSync(path.join(deploy, 'prometheus/rules.test.yml'), 'utf8');
  for (const rule of rules) {
    assert.equal(rule.health, 'ok', `${rule.name}: ${rule.health} ${rule.lastError}`);
    if (rule.type === 'alerting') {
      for (const key of ['summary', 'description', 'runbook'])
        assert.ok(rule.annotations[key], `${rule.name} lacks ${key}`);
      assert.ok(rule.labels.severity, `${rule.name} has no severity`);
      assert.ok(unitTests.includes(`alertname: ${rule.name}\n`), `${rule.name} has no unit test`);
      assert.notEqual(rule.state, 'firing', `${rule.name} fires on a healthy server`);
    } else {
      assert.ok((await ask('query', { query: rule.name })).result.length > 0, `${rule.name} recorded nothing`);
    }
  }
  say(`${rules.length} rules evaluate; each recording rule has data, no alert fires`);

  const queries = dashboardQueries(path.join(deploy, 'grafana/dashboards/shoal.json'));
  const end = Date.now() / 1000;
  for (const { title, expr, isVariable, metric, label } of queries) {
    if (isVariable) {
      const values = await ask(`label/${label}/values`, metric === undefined ? {} : { 'match[]': metric });
      assert.ok(values.length > 0, `${title}: no values`);
      continue;
    }
    const { result } = await ask('query_range', { query: expr, start: end - 10, end, step: 1 });
    assert.ok(result.length > 0, `${title}: no data for ${expr}`);
    const finite = result.some((series) => series.values.some(([, value]) => Number.isFinite(Number(value))));
    assert.ok(finite, `${title}: nothing but NaN for ${expr}`);
  }
  say(`${queries.length} queries of the dashboard return data`);
}

let failure;
try {
  await main();
} catch (error) {
  failure = error;
}
for (const child of children) {
  child.kill('SIGTERM');
  if (child.exitCode === null && child.signalCode === null)
    await Promise.race([once(child, 'exit'), sleep(10_000, undefined, { ref: false })]);
}
rmSync(work, { recursive: true, force: true });
if (failure !== undefined) {
  for (const child of children)
    process.stderr.write(`--- ${child.spawnargs.slice(0, 3).join(' ')}\n${child.log.slice(-2000)}\n`);
  throw failure;
}
say('all passed');
process.exit(0);
