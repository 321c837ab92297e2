// A server for run.sh, with the bundled models and those of the tests; writes its URL to the file that is named.
//
//   node test/system/openapi/serve.mjs url.txt [none|explicit]     (needs a built dist/; ends on SIGTERM)
import { cpSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '../../..');
const { createServer } = await import(path.join(root, 'dist/src/index.js'));
const { add2, flat0, idents, scalar0, stateModel, writeRepository } = await import(
  path.join(root, 'dist/test/support/models.js')
);

const models = mkdtempSync(path.join(tmpdir(), 'shoal-openapi-'));
cpSync(path.join(root, 'models'), models, { recursive: true });
writeRepository(models, {
  ...idents(),
  add2: { 1: add2(), 2: add2() },
  flat0: flat0(),
  scalar0: scalar0(),
  stateModel: stateModel(),
});

const [file, modelControlMode = 'none'] = process.argv.slice(2);
const control = modelControlMode === 'explicit' ? { modelControlMode, loadModel: ['*'] } : {};
const server = await createServer({ models, port: 0, logLevel: 'fatal', ...control });
const url = await server.listen();
await server.loaded();
writeFileSync(`${file}.part`, url);
renameSync(`${file}.part`, file);
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await server.close();
    rmSync(models, { recursive: true });
  });
}
