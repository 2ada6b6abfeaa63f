import { emptyTensor, floatTensor, type TensorData } from '../../models/engine/engine.ts';
import { featureCount } from '../../models/networks/front-end.ts';
import type { Network } from '../../models/networks/network.ts';
import type { Random } from '../../models/networks/random.ts';
import type { Recording } from '../data/recording-set.ts';
import { snapshotLength } from '../data/windows.ts';

export interface Augmentation {
  /** Largest share of each feature vector that is hidden, contiguous; 0 switches it off. */
  readonly mask: number;
  /** Parameter of the Beta distribution of mixup (Zhang et al. 2018); 0 switches it off. */
  readonly mixup: number;
  readonly dropout: number;
  /** Share of the windows that get white noise, 20 to 40 dB below each channel's own power. */
  readonly noise: number;
  /** Largest factor of loudness: windows are played louder or softer by up to so much. 1 switches it off. */
  readonly gain: number;
  /** Largest change of pace, as a share: 0.05 plays windows up to 5 % faster or slower. 0 switches it off. */
  readonly speed: number;
}

/** Windows as they are. */
export const NO_AUGMENTATION: Augmentation = { mask: 0, mixup: 0, dropout: 0, noise: 0, gain: 1, speed: 0 };

const NOISE_DB = [20, 40] as const;
/** Normal numbers that are drawn once; every window reads them from another place. */
const NOISE_POOL = 1 << 16;

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
  readonly #noise: Float32Array;

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
    this.#byClass = classes.map((name) =>
      recordings.filter(({ label, length, entry }) => label === name && Math.min(length, snapshotLength(entry) ?? length) >= window),
    );
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
    this.#noise = Float32Array.from({ length: augmentation.noise > 0 ? NOISE_POOL : 0 }, () => random.normal());
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
      this.#change(row);
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
    const recording = choices[random.below(choices.length)];
    const { first, length } = this.#stretch(recording);
    const pace = this.#augmentation.speed > 0 ? 1 + this.#augmentation.speed * (2 * random.uniform() - 1) : 1;
    // What is mixed in keeps its own pace.
    const needed = pace === 1 || share < 1 ? window : Math.min(length, Math.ceil(window * pace) + 1);
    const samples = recording.read(first + random.below(length - needed + 1), needed);
    const into = this.#window.values as Float32Array;
    const [size, at] = [window * channels, row * window * channels];
    const classes = this.#byClass.length;
    if (share === 1) {
      if (pace === 1) into.set(samples, at);
      else readAtPace(samples, into.subarray(at, at + size), channels, pace);
      target[row * classes + label] = 1;
      return;
    }
    for (let index = 0; index < size; index++) into[at + index] = share * into[at + index] + (1 - share) * samples[index];
    for (let column = 0; column < classes; column++) target[row * classes + column] *= share;
    target[row * classes + label] += 1 - share;
  }

  /** A recording, or a random one of the snapshots that it consists of. */
  #stretch({ length, entry }: Recording): { first: number; length: number } {
    const snapshot = snapshotLength(entry);
    if (snapshot === undefined || snapshot >= length) return { first: 0, length };
    return { first: snapshot * this.#random.below(Math.floor(length / snapshot)), length: snapshot };
  }

  /** Makes a window louder or softer, and noisy. */
  #change(row: number): void {
    const { noise, gain } = this.#augmentation;
    const random = this.#random;
    const { window, channels } = this.#network.frontEnd;
    const values = (this.#window.values as Float32Array).subarray(row * window * channels, (row + 1) * window * channels);
    if (gain > 1) {
      const factor = gain ** (2 * random.uniform() - 1);
      for (let index = 0; index < values.length; index++) values[index] *= factor;
    }
    if (noise === 0 || random.uniform() >= noise) return;
    const [low, high] = NOISE_DB;
    const share = 10 ** (-(low + (high - low) * random.uniform()) / 20);
    for (let channel = 0; channel < channels; channel++) {
      let [sum, square] = [0, 0];
      for (let at = channel; at < values.length; at += channels) {
        sum += values[at];
        square += values[at] ** 2;
      }
      const amplitude = share * Math.sqrt(Math.max(0, square / window - (sum / window) ** 2));
      let from = random.below(NOISE_POOL);
      for (let at = channel; at < values.length; at += channels) values[at] += amplitude * this.#noise[from++ & (NOISE_POOL - 1)];
    }
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

/** Samples at `pace` times their distance, between two by a straight line. samples: [n, channels] -> into: [window, channels] */
function readAtPace(samples: Float32Array, into: Float32Array, channels: number, pace: number): void {
  const last = samples.length / channels - 1;
  for (let t = 0; t < into.length / channels; t++) {
    const position = Math.min(last, t * pace);
    const before = Math.min(last - 1, Math.floor(position));
    const share = position - before;
    for (let channel = 0; channel < channels; channel++) {
      const [a, b] = [samples[before * channels + channel], samples[(before + 1) * channels + channel]];
      into[t * channels + channel] = a + share * (b - a);
    }
  }
}
