import type { Network } from '../../../models/networks/network.ts';
import type { LabelledFeatures } from '../../../runtime/adapt/labelled-features.ts';
import { Decider } from '../decider.ts';
import type { TuneMethod } from '../method.ts';
import { adapted } from '../train-adapter.ts';

/** Windows that the source's mean counts for, beside the shots: one labelled window is worth as much as all that was known. */
const PRIOR = 1;
const SCALES = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

/** Mean embedding of every class, [classes, E], and how many windows it comes from. */
function classMeans(embeddings: Float32Array, labels: Int32Array, classes: number): { means: Float64Array; counts: Int32Array } {
  const width = embeddings.length / Math.max(1, labels.length);
  const [means, counts] = [new Float64Array(classes * width), new Int32Array(classes)];
  labels.forEach((label, row) => {
    counts[label]++;
    for (let column = 0; column < width; column++) means[label * width + column] += embeddings[row * width + column];
  });
  return { means: means.map((sum, index) => sum / Math.max(1, counts[Math.floor(index / width)])), counts };
}

/** Means of the shots drawn towards those of the source; where one side has no window of a class, the other's alone. */
function blend(shots: ReturnType<typeof classMeans>, source: ReturnType<typeof classMeans>): Float64Array {
  const width = shots.means.length / shots.counts.length;
  return shots.means.map((mean, index) => {
    const label = Math.floor(index / width);
    const [k, known] = [shots.counts[label], source.counts[label]];
    const share = known === 0 ? 1 : k / (k + PRIOR);
    return share * mean + (1 - share) * source.means[index];
  });
}

/** Mean cross-entropy of the nearest-mean scores times `scale`. */
function crossEntropy(scores: Float64Array, labels: Int32Array, classes: number, scale: number): number {
  let total = 0;
  labels.forEach((label, row) => {
    const own = Array.from(scores.subarray(row * classes, (row + 1) * classes), (score) => scale * score);
    const largest = Math.max(...own);
    total += largest + Math.log(own.reduce((sum, score) => sum + Math.exp(score - largest), 0)) - own[label];
  });
  return total / labels.length;
}

/**
 * Nearest class mean of the embeddings (Mensink et al. 2013; Snell et al. 2017): score = e . p - |p|^2 / 2, which is a linear layer and takes the
 * head's place. No gradient, no step. Classes that neither shots nor replay show keep a head of zeros and are never decided.
 */
export const prototypes: TuneMethod = {
  name: 'prototypes',
  summary: 'class means of embeddings, of the shots and of replay, as the last layer',
  impossible: ({ network }) =>
    network.parameters.parameters.some(({ name }) => name === 'head.bias') ? undefined : 'the network has no head',
  async tune(context, shots, replay) {
    const { engine, bundle, network, base } = context;
    const decider = await Decider.ofBundle(engine, bundle, network, base.statistics);
    const embed = async ({ features }: LabelledFeatures) => (await decider.decide(features)).embeddings;
    const [near, known] = [await embed(shots), await embed(replay)];
    await decider.release();
    const { classes } = network;
    const blended = blend(classMeans(near, shots.labels, classes), classMeans(known, replay.labels, classes));
    const scored = [
      { scores: scoresOf(near, blended, classes), labels: shots.labels },
      ...(replay.labels.length > 0 ? [{ scores: scoresOf(known, blended, classes), labels: replay.labels }] : []),
    ];
    const cost = (scale: number) => scored.reduce((sum, { scores, labels }) => sum + crossEntropy(scores, labels, classes, scale), 0);
    const scale = SCALES.reduce((best, other) => (cost(other) < cost(best) ? other : best));
    return adapted(context, { kind: 'head' }, headChange(network, base.parameters, blended, scale));
  },
};

/** e . p - |p|^2 / 2 for every embedding and class, [count, classes] */
function scoresOf(embeddings: Float32Array, means: Float64Array, classes: number): Float64Array {
  const width = means.length / classes;
  const count = embeddings.length / width;
  const scores = new Float64Array(count * classes);
  for (let row = 0; row < count; row++) {
    for (let label = 0; label < classes; label++) {
      let sum = 0;
      for (let column = 0; column < width; column++) {
        const mean = means[label * width + column];
        sum += mean * (embeddings[row * width + column] - mean / 2);
      }
      scores[row * classes + label] = sum;
    }
  }
  return scores;
}

/** What turns the base's head into the nearest-mean head: an adapter of the scheme `head`, weight [E, classes] then bias [classes]. */
function headChange(network: Network, parameters: Float32Array, means: Float64Array, scale: number): Float32Array {
  const { classes, embeddingWidth } = network;
  const weight = network.parameters.view(parameters, 'head.weight');
  const bias = network.parameters.view(parameters, 'head.bias');
  const change = new Float32Array(weight.length + bias.length);
  for (let label = 0; label < classes; label++) {
    let square = 0;
    for (let column = 0; column < embeddingWidth; column++) {
      const mean = means[label * embeddingWidth + column];
      square += mean * mean;
      change[column * classes + label] = scale * mean - weight[column * classes + label];
    }
    change[weight.length + label] = (-scale * square) / 2 - bias[label];
  }
  return change;
}
