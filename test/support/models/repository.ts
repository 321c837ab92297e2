import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/**
 * Models by name. A Buffer becomes `name.onnx`; an object has versions, each a Buffer (`name/1/model.onnx`) or the
 * files of its folder, and files that lie beside them (`name/config.pbtxt`) under names with a dot.
 */
export type RepositoryContent = Readonly<Record<string, Uint8Array | Readonly<Record<string, VersionContent>>>>;

/** A version: its `model.onnx`, or several files by name. */
export type VersionContent = Uint8Array | Readonly<Record<string, Uint8Array>>;

/** Writes a models folder; what is already there stays. Returns `dir`. */
export function writeRepository(dir: string, content: RepositoryContent): string {
  mkdirSync(dir, { recursive: true });
  for (const [name, model] of Object.entries(content)) {
    if (model instanceof Uint8Array) {
      writeFileSync(path.join(dir, `${name}.onnx`), model);
      continue;
    }
    for (const [version, files] of Object.entries(model)) {
      const isFile = version.includes('.') && files instanceof Uint8Array;
      const folder = isFile ? path.join(dir, name) : path.join(dir, name, version);
      mkdirSync(folder, { recursive: true });
      const named = files instanceof Uint8Array ? { [isFile ? version : 'model.onnx']: files } : files;
      for (const [file, bytes] of Object.entries(named)) writeFileSync(path.join(folder, file), bytes);
    }
  }
  return dir;
}

/**
 * Writes a models folder as Kubernetes mounts a config map or secret: the content in a folder with a time stamp, `..data`
 * a link to that folder, each entry a link through `..data`. Called again, it swaps the content as the kubelet does
 * (`pkg/volume/util/atomic_writer.go`): a new folder, a rename over `..data`, then the old folder goes. Returns `dir`.
 */
export function kubernetesMount(dir: string, content: RepositoryContent): string {
  mkdirSync(dir, { recursive: true });
  const old = readdirSync(dir).filter((name) => /^\.\.\d/.test(name));
  const stamp = `..2026_01_01_00_00_${String(old.length).padStart(2, '0')}.${process.hrtime.bigint() % 1_000_000_000n}`;
  writeRepository(path.join(dir, stamp), content);
  symlinkSync(stamp, path.join(dir, '..data_tmp'));
  renameSync(path.join(dir, '..data_tmp'), path.join(dir, '..data'));
  const entries = readdirSync(path.join(dir, stamp));
  for (const name of readdirSync(dir)) {
    if (!name.startsWith('..') && !entries.includes(name)) rmSync(path.join(dir, name));
  }
  for (const name of entries) {
    if (!readdirSync(dir).includes(name)) symlinkSync(path.join('..data', name), path.join(dir, name));
  }
  for (const name of old) rmSync(path.join(dir, name), { recursive: true });
  return dir;
}
