/** How a step follows from a gradient. */
export type OptimizerChoice =
  | { readonly kind: 'sgd'; readonly rate: number }
  | { readonly kind: 'momentum'; readonly rate: number; readonly momentum?: number }
  | { readonly kind: 'adam'; readonly rate: number; readonly beta1?: number; readonly beta2?: number };

/** Changes parameters by gradients. */
export interface Optimizer {
  /** Makes one step, in place. */
  step(parameters: Float64Array, gradient: Float64Array): void;
  /** What it remembers between steps, for checkpoints; `[count of steps, …means]`. */
  state(): Float64Array;
  /** Takes over what {@link Optimizer.state} gave. */
  restore(state: Float64Array): void;
}

/** Keeps Adam's division away from zero; the value of the paper. */
const EPSILON = 1e-8;

/**
 * An optimiser for so many parameters: plain gradient descent, with momentum (Polyak), or Adam (Kingma and Ba, 2015).
 * Defaults: momentum 0.9, beta1 0.9, beta2 0.999.
 */
export function createOptimizer(choice: OptimizerChoice, count: number): Optimizer {
  if (choice.kind === 'adam') return adam(choice, count);
  return descent(choice.rate, choice.kind === 'momentum' ? (choice.momentum ?? 0.9) : 0, count);
}

function descent(rate: number, momentum: number, count: number): Optimizer {
  const velocity = new Float64Array(momentum === 0 ? 0 : count);
  return {
    step(parameters, gradient) {
      for (let i = 0; i < count; i++) {
        let change = gradient[i]!;
        if (momentum > 0) {
          change += momentum * velocity[i]!;
          velocity[i] = change;
        }
        parameters[i]! -= rate * change;
      }
    },
    state: () => velocity.slice(),
    restore: (state) => velocity.set(state),
  };
}

function adam(choice: Extract<OptimizerChoice, { kind: 'adam' }>, count: number): Optimizer {
  const { rate, beta1 = 0.9, beta2 = 0.999 } = choice;
  const memory = new Float64Array(1 + 2 * count);
  const first = memory.subarray(1, 1 + count);
  const second = memory.subarray(1 + count);
  return {
    step(parameters, gradient) {
      const steps = memory[0]! + 1;
      memory[0] = steps;
      // Both means start at 0; these take that out of them again.
      const [correct1, correct2] = [1 - beta1 ** steps, 1 - beta2 ** steps];
      for (let i = 0; i < count; i++) {
        const g = gradient[i]!;
        const m = beta1 * first[i]! + (1 - beta1) * g;
        const v = beta2 * second[i]! + (1 - beta2) * g * g;
        first[i] = m;
        second[i] = v;
        parameters[i]! -= (rate * (m / correct1)) / (Math.sqrt(v / correct2) + EPSILON);
      }
    },
    state: () => memory.slice(),
    restore: (state) => memory.set(state),
  };
}
