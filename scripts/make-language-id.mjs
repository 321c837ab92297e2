// Makes models/language-id/1/model.onnx from the npm packages lande (n-grams, languages, weights) and toygrad (decodes
// the weights), byte for byte the same each time.
//
//   node scripts/make-language-id.mjs [output file]
//
// lande counts n-grams in JavaScript and feeds their frequencies to a small network. Here the counting is part of the
// graph, so that the model takes plain text. What differs from lande stands in the model's README.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { NeuralNetwork } from 'toygrad';
import { FLOAT, GraphWriter, STRING } from './onnx-writer.mjs';

/** What the tokenizer fills short rows of a batch with; no letter, so no text can contain it after tokenizing. */
const PADDING = '#';

/** The parts of lande that its package does not export by name. */
async function loadLande() {
  const folder = import.meta.resolve('lande');
  const load = async (file) => (await import(new URL(file, folder))).default;
  const [options, languages, ngrams] = await Promise.all([
    load('./t50-options.js'),
    load('./t50-langs.js'),
    load('./t50-ngrams.js'),
  ]);
  const dense = new NeuralNetwork(options).layers.filter((layer) => layer.filters?.length > 0);
  return {
    languages,
    ngramsByLength: [ngrams.unigrams, ngrams.bigrams, ngrams.trigrams, ngrams.quadgrams],
    layers: dense.map((layer) => ({ rows: layer.filters.map((filter) => filter.w), biases: layer.biases.w })),
  };
}

/**
 * All spellings of an n-gram in lower and upper case. The graph cannot fold case itself: ONNX's StringNormalizer needs
 * an en_US locale on Linux. Letters whose upper case is several letters (ß) stay as they are.
 */
function spellings(ngram) {
  let all = [''];
  for (const letter of ngram) {
    const upper = letter.toUpperCase();
    const cases = upper === letter || [...upper].length !== 1 ? [letter] : [letter, upper];
    all = all.flatMap((prefix) => cases.map((one) => prefix + one));
  }
  return all;
}

/**
 * The tables of TfIdfVectorizer: the letters of every spelling one after the other, where each length begins, and which
 * feature each spelling counts for; and the length − 1 of each feature's n-grams.
 */
function ngramTables(ngramsByLength) {
  const pool = [];
  const starts = [];
  const featureOf = [];
  const lengthsLessOne = [];
  for (const [lengthLessOne, ngrams] of ngramsByLength.entries()) {
    starts.push(pool.length);
    const seen = new Set();
    for (const ngram of ngrams) {
      const feature = lengthsLessOne.length;
      for (const spelling of spellings(ngram)) {
        // Two n-grams may share a spelling (i and ı are both I): it counts for the first.
        if (seen.has(spelling)) continue;
        seen.add(spelling);
        pool.push(...spelling);
        featureOf.push(feature);
      }
      lengthsLessOne.push(lengthLessOne);
    }
  }
  return { pool, starts, featureOf, lengthsLessOne };
}

/** The bytes of the model. The order of the statements is the order of the names in the file. */
async function makeLanguageId() {
  const { languages, ngramsByLength, layers } = await loadLande();
  const graph = new GraphWriter(
    'language_id',
    [{ name: 'text', type: STRING, shape: ['batch'] }],
    [
      { name: 'language', type: STRING, shape: ['batch'] },
      { name: 'confidence', type: FLOAT, shape: ['batch'] },
      { name: 'probabilities', type: FLOAT, shape: ['batch', languages.length] },
    ],
  );

  // " text " as a row of single characters, letters, marks and white space only: [batch, characters].
  const opened = graph.add('StringConcat', [graph.strings([' ']), 'text']);
  const padded = graph.add('StringConcat', [opened, graph.strings([' '])]);
  const characters = graph.add(
    'Tokenizer',
    [padded],
    { mark: 0, mincharnum: 1, pad_value: PADDING, tokenexp: '[\\p{L}\\p{M}\\s]' },
    { domain: 'com.microsoft' },
  );

  // How often each n-gram occurs: [batch, features].
  const tables = ngramTables(ngramsByLength);
  const counts = graph.add('TfIdfVectorizer', [characters], {
    mode: 'TF',
    min_gram_length: 1,
    max_gram_length: 4,
    max_skip_count: 0,
    ngram_counts: tables.starts,
    ngram_indexes: tables.featureOf,
    pool_strings: tables.pool,
  });

  // Counts to frequencies: a text of n characters has n − k + 1 n-grams of length k, but divide by at least 1.
  const isPadding = graph.add('Equal', [characters, graph.strings([PADDING])]);
  const isCharacter = graph.add('Cast', [graph.add('Not', [isPadding])], { to: FLOAT });
  const length = graph.add('ReduceSum', [isCharacter, graph.int64s([1])], { keepdims: 1 });
  const possible = graph.add('Sub', [length, graph.floats(tables.lengthsLessOne)]);
  let x = graph.add('Div', [counts, graph.add('Max', [possible, graph.floats([1])])]);

  for (const [i, { rows, biases }] of layers.entries()) {
    const weights = graph.floats(
      rows.flatMap((row) => [...row]),
      [rows.length, rows[0].length],
    );
    x = graph.add('Gemm', [x, weights, graph.floats(biases)], { transB: 1 });
    if (i < layers.length - 1) x = graph.add('Relu', [x]);
  }
  graph.add('Softmax', [x], { axis: -1 }, { output: 'probabilities' });

  const top = graph.add('ReduceMax', ['probabilities', graph.int64s([1])], { keepdims: 0 });
  const names = graph.strings(languages);
  const best = graph.add('Gather', [names, graph.add('ArgMax', ['probabilities'], { axis: 1, keepdims: 0 })], {
    axis: 0,
  });

  // Feature 0 is the blank. A text with no other known n-gram says nothing: `und`, ISO 639's code for undetermined.
  const all = graph.add('ReduceSum', [counts, graph.int64s([1])], { keepdims: 0 });
  const blankColumn = graph.add('Slice', [counts, graph.int64s([0]), graph.int64s([1]), graph.int64s([1])]);
  const blanks = graph.add('ReduceSum', [blankColumn, graph.int64s([1])], { keepdims: 0 });
  const nothingKnown = graph.add('Equal', [all, blanks]);
  graph.add('Where', [nothingKnown, graph.strings(['und']), best], {}, { output: 'language' });
  graph.add('Where', [nothingKnown, graph.floats([0]), top], {}, { output: 'confidence' });

  return graph.encode({
    irVersion: 9,
    producer: 'make-language-id',
    opsets: { '': 20, 'com.microsoft': 1 },
    metadata: { labels: languages.join(','), source: 'npm lande 1.0.10 (MIT)' },
  });
}

const file = process.argv[2] ?? fileURLToPath(new URL('../models/language-id/1/model.onnx', import.meta.url));
const bytes = await makeLanguageId();
mkdirSync(path.dirname(file), { recursive: true });
writeFileSync(file, bytes);
process.stdout.write(`${file}: ${bytes.length} bytes\n`);
