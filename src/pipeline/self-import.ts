import module, { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

/** What newer Node.js has beside `register`: hooks that run where modules are loaded, without a thread. */
interface SyncHooks {
  readonly registerHooks?: (hooks: {
    resolve(
      specifier: string,
      context: unknown,
      next: (specifier: string, context: unknown) => { url: string },
    ): { url: string; format?: string; shortCircuit?: boolean };
  }) => void;
}

const SELF = new URL('../index.js', import.meta.url).href;

let isDone = false;

/**
 * Has `import … from 'shoal'` work in the modules of a folder beside which the package is not installed, as with a
 * global installation or in a container: there it is the copy that runs.
 *
 * @param file a module of the folder.
 */
export function provideSelf(file: string): void {
  if (isDone || isInstalledFor(file)) return;
  isDone = true;
  const { registerHooks } = module as SyncHooks;
  if (registerHooks === undefined) {
    module.register(new URL('./self-hooks.js', import.meta.url));
    return;
  }
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier !== 'shoal') return next(specifier, context);
      try {
        return next(specifier, context);
      } catch {
        return { url: SELF, format: 'module', shortCircuit: true };
      }
    },
  });
}

function isInstalledFor(file: string): boolean {
  try {
    createRequire(pathToFileURL(file)).resolve('shoal');
    return true;
  } catch {
    return false;
  }
}
