import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { seededRandom } from '../../src/random.ts';
import { FEATURED_INPUTS } from './models.ts';
import { parseJson, type TestClient } from './server.ts';

/** A training as the routes describe it. */
export interface TrainingReply {
  readonly id: string;
  readonly model: string;
  readonly version: string;
  readonly state: string;
  readonly reason: string | null;
  readonly rows: number;
  readonly classes: readonly string[] | null;
  readonly progress: { step: number; steps: number; epoch: number; loss: number } | null;
  readonly held_back: { rows: number; accuracy: number | null; loss: number } | null;
  readonly publication: {
    readonly outcome: string;
    readonly version: string | null;
    readonly reason: string;
    readonly candidate: { accuracy: number | null; loss: number | null } | null;
    readonly serving: { version: string; accuracy: number | null; loss: number | null } | null;
  } | null;
}

/** A folder that is removed behind the test. */
export function scratchFolder(t: TestContext): string {
  const made = mkdtempSync(path.join(tmpdir(), 'shoal-training-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Rows for the model `featured`, and for each the place of the largest of its first three numbers. */
export function labelledRows(count: number, seed: number): { readonly x: number[][]; readonly labels: number[] } {
  const random = seededRandom(seed);
  const x = Array.from({ length: count }, () => Array.from({ length: FEATURED_INPUTS }, () => 2 * random() - 1));
  return { x, labels: x.map((row) => row.indexOf(Math.max(...row.slice(0, 3)))) };
}

export const floats = (
  name: string,
  rows: readonly (readonly number[])[],
): { name: string; datatype: string; shape: number[]; data: number[] } => ({
  name: name,
  datatype: 'FP32',
  shape: [rows.length, rows[0]!.length],
  data: rows.flat(),
});

/** Stores labelled rows for a model; `names` in place of numbers where there are some. */
export async function storeRows(
  client: TestClient,
  model: string,
  count: number,
  { seed = 1, names }: { readonly seed?: number; readonly names?: readonly string[] } = {},
): Promise<void> {
  const { x, labels } = labelledRows(count, seed);
  for (let at = 0; at < count; at += 500) {
    const some = labels.slice(at, at + 500);
    const label = {
      name: 'label',
      datatype: names === undefined ? 'INT64' : 'BYTES',
      shape: [some.length],
      data: names === undefined ? some : some.map((one) => names[one]),
    };
    const body = JSON.stringify({ inputs: [floats('x', x.slice(at, at + 500)), label] });
    parseJson(await client.send('POST', `/v2/models/${model}/examples`, body), 200);
  }
}

export async function startTraining(client: TestClient, request: object): Promise<TrainingReply> {
  return parseJson(await client.send('POST', '/v2/trainings', JSON.stringify(request)), 200) as TrainingReply;
}

/** The events of a training until it is over, as they are sent. */
export async function readEvents(
  client: TestClient,
  id: string,
  headers: Record<string, string> = {},
): Promise<{ id: number; event: string; data: Record<string, unknown> }[]> {
  const answer = await client.get(`/v2/trainings/${id}`, { accept: 'text/event-stream', ...headers });
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  const blocks = answer.body.toString().split('\n\n').filter(Boolean);
  return blocks.map((block) => {
    const [, eventId, event, data] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(block)!;
    return { id: Number(eventId), event: event!, data: JSON.parse(data!) as Record<string, unknown> };
  });
}

/** A training when it is over. */
export async function awaitTraining(client: TestClient, id: string): Promise<TrainingReply> {
  await readEvents(client, id);
  return (await client.json(`/v2/trainings/${id}`)) as TrainingReply;
}
