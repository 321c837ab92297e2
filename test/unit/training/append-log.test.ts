import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { AppendLog, type LogHandle, type OpenFile } from '../../../src/training/append-log.ts';

function scratch(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'shoal-log-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return path.join(folder, 'model.log');
}

async function openLog(file: string, openFile?: OpenFile) {
  const seen: string[] = [];
  const { log, tornBytes } = await AppendLog.open(file, (payload) => void seen.push(payload.toString()), openFile);
  return { log, tornBytes, seen };
}

const record = (text: string): Buffer[] => [Buffer.from(text.slice(0, 1)), Buffer.from(text.slice(1))];

describe('a log of examples', () => {
  it('gives its records back in order, alone and when it is opened again', async (t) => {
    const file = scratch(t);
    const { log } = await openLog(file);
    const texts = Array.from({ length: 50 }, (_, i) => `record ${i} ${'x'.repeat(i * 7)}`);
    const places = await Promise.all(texts.map((text) => log.append(record(text))));
    for (const [i, place] of places.entries()) assert.equal((await log.read(place)).toString(), texts[i]);
    await log.close();
    const again = await openLog(file);
    t.after(() => again.log.close());
    assert.deepEqual(again.seen, texts);
    assert.deepEqual([again.tornBytes, again.log.id], [0, log.id]);
  });

  it('writes what comes meanwhile together, with one sync for all', async (t) => {
    let syncs = 0;
    const counting: OpenFile = async (file, flags) => {
      const handle = await open(file, flags);
      const datasync = handle.datasync.bind(handle);
      handle.datasync = () => {
        syncs++;
        return datasync();
      };
      return handle;
    };
    const { log } = await openLog(scratch(t), counting);
    t.after(() => log.close());
    const before = syncs;
    await Promise.all(Array.from({ length: 500 }, (_, i) => log.append(record(`${i}`))));
    assert.ok(syncs - before <= 10, `${syncs - before} syncs for 500 records`);
  });

  it('cuts a torn tail off at every byte, keeps it aside, and goes on behind the last whole record', async (t) => {
    const file = scratch(t);
    const first = await openLog(file);
    await first.log.append(record('first'));
    const whole = first.log.bytes;
    await first.log.append(record('second'));
    await first.log.close();
    const bytes = readFileSync(file);
    for (let length = whole; length < bytes.length; length++) {
      writeFileSync(file, bytes);
      truncateSync(file, length);
      const { log, seen, tornBytes } = await openLog(file);
      assert.deepEqual([seen, tornBytes], [['first'], length - whole]);
      if (tornBytes > 0) assert.ok(readFileSync(`${file}.torn`).equals(bytes.subarray(whole, length)));
      await log.append(record('third'));
      await log.close();
      const again = await openLog(file);
      await again.log.close();
      assert.deepEqual(again.seen, ['first', 'third']);
    }
  });

  it('takes neither zeros nor changed bytes for a record', async (t) => {
    const file = scratch(t);
    const { log } = await openLog(file);
    await log.append(record('good'));
    await log.append(record('changed'));
    await log.close();
    const bytes = readFileSync(file);
    bytes[bytes.length - 2]! ^= 1;
    writeFileSync(file, bytes);
    appendFileSync(file, Buffer.alloc(4096));
    const again = await openLog(file);
    t.after(() => again.log.close());
    assert.deepEqual(again.seen, ['good']);
    assert.equal(statSync(file).size, again.log.bytes);
  });

  it('leaves a file of another kind alone', async (t) => {
    const file = scratch(t);
    writeFileSync(file, 'something of somebody else');
    await assert.rejects(openLog(file), { code: 'STORAGE_FAILED', message: /no file of examples/ });
    assert.equal(readFileSync(file, 'utf8'), 'something of somebody else');
  });

  for (const [what, broken] of [
    ['writing fails', { writev: () => Promise.reject(diskFull()) }],
    ['a part is written before it fails', {}],
    ['syncing fails', { datasync: () => Promise.reject(diskFull()) }],
  ] as const) {
    it(`says so when ${what}, and stores what comes when there is room again`, async (t) => {
      let isFull = false;
      const full: OpenFile = async (file, flags) => {
        const handle = await open(file, flags);
        let parts = 0;
        const partly: LogHandle['writev'] = async (buffers, position) => {
          if (parts++ > 0) throw diskFull();
          return handle.writev([Buffer.from(buffers[0] as Uint8Array).subarray(0, 3)], position ?? undefined) as never;
        };
        const failing = 'writev' in broken || 'datasync' in broken ? broken : { writev: partly };
        return new Proxy(handle, {
          get: (target, key) => {
            const value: unknown = Reflect.get(isFull && Object.hasOwn(failing, key) ? failing : target, key);
            return typeof value === 'function' ? value.bind(target) : value;
          },
        });
      };
      const file = scratch(t);
      const { log } = await openLog(file, full);
      await log.append(record('before'));
      isFull = true;
      const lost = await Promise.allSettled([log.append(record('lost')), log.append(record('lost, too'))]);
      for (const one of lost) {
        assert.ok(one.status === 'rejected');
        assert.equal(one.reason.code, 'STORAGE_FAILED');
        assert.equal(one.reason.message, 'the examples could not be stored: ENOSPC: no space left on device');
      }
      isFull = false;
      const place = await log.append(record('after'));
      assert.equal((await log.read(place)).toString(), 'after');
      await log.close();
      const again = await openLog(file);
      t.after(() => again.log.close());
      assert.deepEqual([again.seen, again.tornBytes], [['before', 'after'], 0]);
    });
  }
});

function diskFull(): Error {
  return Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
}
