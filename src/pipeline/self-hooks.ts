import type { ResolveHook } from 'node:module';

/** Hooks for Node.js' module loader, in a thread of their own; see `self-import.ts`. */

const SELF = new URL('../index.js', import.meta.url).href;

/** Has `shoal` lead to this copy of the package where nothing else is found. */
export const resolve: ResolveHook = async (specifier, context, nextResolve) => {
  if (specifier !== 'shoal') return nextResolve(specifier, context);
  try {
    return await nextResolve(specifier, context);
  } catch {
    return { url: SELF, format: 'module', shortCircuit: true };
  }
};
