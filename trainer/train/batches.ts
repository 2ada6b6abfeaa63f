import { emptyTensor, floatTensor, type TensorData } from '../../models/engine/engine.ts';
import { featureCount } from '../../models/networks/front-end.ts';
import type { Network } from '../../models/networks/network.ts';
import type { Random } from '../../models/networks/random.ts';
import type { Recording } from '../data/recording-set.ts';

export interface Augmentation {
  /** Largest share of each feature vector that is hidden, contiguous; 0 switches it off. */
  readonly mask: number;
  /** Parameter of the Beta distribution of mixup (Zhang et al. 2018); 0 switches it off. */
  readonly mixup: number;
  readonly dropout: number;
}

/**
 * Makes training batches: the class first, then a recording of it, then a random place in it, so that every class weighs the same and
 * every recording of a class too.
 */
export class BatchSampler {
  readonly #network: Network;
  readonly #byClass: Recording[][];
  readonly #random: Random;
  readonly #augmentation: Augmentation;
  readonly #size: number;
  readonly #window: TensorData;
  readonly #target: TensorData;
  readonly #featureMask: TensorData;
  readonly #constant: Record<string, TensorData>;
  /** Random dropout decisions, drawn once; every step reads them from another place. */
  readonly #dropoutPool: Float32Array;
  readonly #dropoutShape: readonly number[];

  constructor(
    network: Network,
    recordings: readonly Recording[],
    classes: readonly string[],
    size: number,
    augmentation: Augmentation,
    random: Random,
    labelSmoothing: number,
  ) {
    this.#network = network;
    this.#random = random;
    this.#augmentation = augmentation;
    this.#size = size;
    const { window, channels } = network.frontEnd;
    this.#byClass = classes.map((name) => recordings.filter(({ label, length }) => label === name && length >= window));
    this.#window = emptyTensor('float32', [size, window, channels]);
    this.#target = emptyTensor('float32', [size, classes.length]);
    this.#featureMask = emptyTensor('float32', [size, featureCount(network.parts)]);
    const { sites, tokens, width } = network.dropout;
    this.#dropoutShape = [sites, size * tokens, width];
    const needed = sites * size * tokens * width;
    const keep = 1 / (1 - augmentation.dropout);
    this.#dropoutPool = Float32Array.from({ length: augmentation.dropout > 0 ? 2 * needed : 0 }, () =>
      random.uniform() < augmentation.dropout ? 0 : keep,
    );
    const ones = (shape: number[]) => floatTensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1), shape);
    this.#constant = {
      scale: ones([size, channels]),
      sampleWeight: ones([size]),
      classWeight: ones([classes.length]),
      labelSmoothing: floatTensor(Float32Array.of(labelSmoothing), []),
    };
  }

  /** Feeds of one step; the tensors are reused, so they hold until the next call. */
  next(): Record<string, TensorData> {
    const { mask, mixup, dropout } = this.#augmentation;
    const target = (this.#target.values as Float32Array).fill(0);
    for (let row = 0; row < this.#size; row++) {
      this.#fill(row, 1, target);
      if (mixup > 0) {
        const share = this.#random.beta(mixup);
        if (share < 0.99) this.#fill(row, share, target);
      }
    }
    const feeds: Record<string, TensorData> = { ...this.#constant, window: this.#window, target: this.#target };
    if (mask > 0) feeds.featureMask = this.#maskFeatures(mask);
    if (dropout > 0) {
      const needed = this.#dropoutPool.length / 2;
      const start = this.#random.below(needed);
      feeds.dropoutMask = floatTensor(this.#dropoutPool.subarray(start, start + needed), this.#dropoutShape);
    }
    return feeds;
  }

  /** Puts a random window into `row`; with a share below 1, mixes it into what stands there: row = share * row + (1 - share) * new. */
  #fill(row: number, share: number, target: Float32Array): void {
    const random = this.#random;
    const { window, channels } = this.#network.frontEnd;
    const known = this.#byClass.map((recordings, index) => (recordings.length > 0 ? index : -1)).filter((index) => index >= 0);
    const label = known[random.below(known.length)];
    const choices = this.#byClass[label];
    const { samples, length } = choices[random.below(choices.length)];
    const start = random.below(length - window + 1) * channels;
    const into = this.#window.values as Float32Array;
    const [size, at] = [window * channels, row * window * channels];
    const classes = this.#byClass.length;
    if (share === 1) {
      into.set(samples.subarray(start, start + size), at);
      target[row * classes + label] = 1;
      return;
    }
    for (let index = 0; index < size; index++) into[at + index] = share * into[at + index] + (1 - share) * samples[start + index];
    for (let column = 0; column < classes; column++) target[row * classes + column] *= share;
    target[row * classes + label] += 1 - share;
  }

  /** Hides a contiguous band of each channel of each kind of feature. */
  #maskFeatures(share: number): TensorData {
    const random = this.#random;
    const values = (this.#featureMask.values as Float32Array).fill(1);
    const { channels } = this.#network.frontEnd;
    let at = 0;
    for (let row = 0; row < this.#size; row++) {
      for (const { kind, tokens, width } of this.#network.parts) {
        const length = width / channels;
        for (let channel = 0; channel < channels; channel++) {
          const hidden = kind === 'statistics' ? 0 : Math.floor(random.uniform() * share * length);
          const from = at + channel * length + random.below(length - hidden + 1);
          // One band for all frames: what another frame still shows is not hidden.
          for (let token = 0; token < tokens; token++) values.fill(0, from + token * width, from + token * width + hidden);
        }
        at += tokens * width;
      }
    }
    return this.#featureMask;
  }
}
