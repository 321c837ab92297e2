import { Service } from '../../../src/service.ts';
import { row } from './helpers.ts';

/**
 * A server's front as a program of its own: node front.js <models folder> <model>. It says what happens as lines:
 * `ready`, `answered` or the error's code for the request it starts when it is told `run`, `drained`. On SIGINT it drains, as
 * the command does.
 */
if (process.argv[2] !== undefined) {
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  const [, , models, model] = process.argv;
  const service = await Service.create({ models: models!, logLevel: 'silent', provider: 'cpu', instances: 1 });
  await service.loaded();
  process.stdin.on('data', () => {
    service.infer(model!, { x: row(1) }).then(
      () => say('answered'),
      (error: unknown) => say(error instanceof Error && 'code' in error ? String(error.code) : String(error)),
    );
    say('started');
  });
  process.on('SIGINT', () => {
    say('interrupted');
    void service.drain().then(() => {
      say('drained');
      process.exit(0);
    });
  });
  say('ready');
}
