/** Models for tests and benchmarks, made in memory; each function returns the bytes of an `.onnx` file. */
export * from './models/batching.ts';
export * from './models/costs.ts';
export * from './models/featured.ts';
export * from './models/hostile.ts';
export * from './models/mlp.ts';
export * from './models/plain.ts';
export * from './models/repository.ts';
