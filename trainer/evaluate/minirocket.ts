import { Random } from '../../models/networks/random.ts';
import { KernelCounter } from './kernel-counter.ts';

/** Weights a kernel has. */
const LENGTH = 9;
const HALF = 4;
/** Every choice of three of the nine places: a kernel has the weight 2 there and -1 elsewhere. 84 kernels. */
const KERNELS: readonly (readonly [number, number, number])[] = Array.from({ length: LENGTH ** 3 }, (_, index) => {
  return [Math.floor(index / LENGTH ** 2), Math.floor(index / LENGTH) % LENGTH, index % LENGTH] as const;
}).filter(([a, b, c]) => a < b && b < c);
/** Sum of a kernel's magnitudes. */
const GAIN = 12;

const GOLDEN_RATIO = (Math.sqrt(5) + 1) / 2;
/** Windows between two turns of the event loop, which lets signals and progress bars through. */
const WINDOWS_A_TURN = 32;
/** How much larger than in training a sample may be before it is clamped. */
const HEADROOM = 4;

/** All that a fitted transform is made of. */
export interface MiniRocketParameters {
  readonly window: number;
  readonly channels: number;
  readonly dilations: readonly number[];
  /** Biases that each kernel has at each dilation. */
  readonly biasesAt: readonly number[];
  /** Channels that are summed before the convolution: for each dilation, for each of the 84 kernels. */
  readonly subsets: readonly (readonly number[])[];
  /** For each dilation, for each kernel, `biasesAt` of that dilation. One feature each. */
  readonly biases: Float64Array;
  /** Largest magnitude of a sample; larger ones are clamped. */
  readonly limit: number;
}

export interface MiniRocketOptions {
  readonly seed: number;
  /** Features to make, rounded down to a multiple of 84. Default 3,360. */
  readonly features?: number;
  /** Default 32, as in the paper. */
  readonly maxDilations?: number;
}

/** Kernels that see the same sum of channels at one dilation. */
interface KernelGroup {
  readonly subset: readonly number[];
  readonly kernels: readonly number[];
}

/**
 * MiniRocket (Dempster, Schmidt and Webb 2021, arXiv 2012.08791): a window is convolved with 84 fixed kernels at exponentially spaced
 * dilations; a feature is the share of the result above a bias (PPV), and biases are quantiles of convolved training windows. Half of the
 * kernels see the window between zeros, half only where they fit. Of several channels, each kernel and dilation sees the sum of a random subset.
 *
 * Convolution is linear, so channels are summed first; weights are whole numbers, so samples are too (scaled by a power of two and
 * rounded, about as fine as float32): {@link KernelCounter} counts four at a time.
 */
export class MiniRocket {
  readonly parameters: MiniRocketParameters;
  readonly features: number;
  readonly #scale: number;
  readonly #biases: Int32Array;
  readonly #groups: readonly (readonly KernelGroup[])[];
  /** Zeros on either side of a window. */
  readonly #margin: number;
  /** Of each channel: the rounded samples times three between zeros, and minus the sum of the nine places at one dilation. */
  readonly #tripled: readonly Int32Array[];
  readonly #places: readonly Int32Array[];
  /** The same two of the sum of some channels. */
  readonly #counter: KernelCounter;

  constructor(parameters: MiniRocketParameters) {
    this.parameters = parameters;
    this.features = parameters.biases.length;
    const { window, channels, dilations, subsets, limit, biases } = parameters;
    const widest = Math.max(...subsets.map(({ length }) => length));
    // Responses stay within 32 bits, and biases too.
    const bound = 2 ** 30;
    this.#scale = 2 ** Math.floor(Math.log2((bound - 1) / (GAIN * widest * (limit || 1))));
    // A whole number is above a bias exactly where it is above the bias's floor.
    this.#biases = Int32Array.from(biases, (bias) => Math.max(-bound, Math.min(bound - 1, Math.floor(bias * this.#scale))));
    this.#groups = dilations.map((_, place) => groupKernels(subsets.slice(place * KERNELS.length, (place + 1) * KERNELS.length)));
    this.#margin = HALF * Math.max(...dilations);
    this.#tripled = Array.from({ length: channels }, () => new Int32Array(window + 2 * this.#margin));
    this.#places = this.#tripled.map(() => new Int32Array(window));
    this.#counter = new KernelCounter(window, this.#margin);
  }

  /**
   * Draws subsets of channels and the windows whose quantiles become biases.
   *
   * @param samples row-major [count, window, channels]; best with every channel z-scored in its window
   * @throws RangeError where a window is shorter than a kernel or fewer than 84 features are asked for
   */
  static fit(samples: Float32Array, [window, channels]: readonly [number, number], options: MiniRocketOptions): MiniRocket {
    const { seed, features = 3360, maxDilations = 32 } = options;
    if (window < LENGTH) throw new RangeError(`MiniRocket needs windows of ${LENGTH} samples or more, not ${window}`);
    if (features < KERNELS.length) throw new RangeError(`MiniRocket makes ${KERNELS.length} features or more, not ${features}`);
    const { dilations, biasesAt } = fitDilations(window, Math.floor(features / KERNELS.length), maxDilations);
    const random = new Random(seed);
    const subsets = drawSubsets(dilations.length * KERNELS.length, channels, random);
    const limit = HEADROOM * samples.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0);
    const biases = new Float64Array(biasesAt.reduce((sum, count) => sum + count, 0) * KERNELS.length);
    const fitted = { window, channels, dilations, biasesAt, subsets, limit, biases };
    const unbiased = new MiniRocket(fitted);
    const size = window * channels;
    let feature = 0;
    dilations.forEach((dilation, place) => {
      KERNELS.forEach((_, kernel) => {
        const row = random.below(samples.length / size);
        unbiased.#quantize(samples.subarray(row * size, (row + 1) * size));
        unbiased.#sumPlaces(dilation);
        unbiased.#sumChannels(subsets[place * KERNELS.length + kernel]);
        const shifts = shiftsOf(kernel, dilation);
        const sorted = Int32Array.from({ length: window }, (_, t) => unbiased.#counter.response(shifts, t)).sort();
        for (let index = 0; index < biasesAt[place]; index++, feature++) {
          biases[feature] = quantile(sorted, (GOLDEN_RATIO * (feature + 1)) % 1) / unbiased.#scale;
        }
      });
    });
    return new MiniRocket(fitted);
  }

  /** samples: [count, window, channels] -> [count, features], each from 0 to 1 */
  async transform(samples: Float32Array, onProgress?: (share: number) => void, signal?: AbortSignal): Promise<Float32Array> {
    const size = this.parameters.window * this.parameters.channels;
    const count = samples.length / size;
    const features = new Float32Array(count * this.features);
    for (let row = 0; row < count; row++) {
      this.#transformWindow(samples.subarray(row * size, (row + 1) * size), features.subarray(row * this.features));
      if ((row + 1) % WINDOWS_A_TURN !== 0) continue;
      signal?.throwIfAborted();
      onProgress?.((row + 1) / count);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return features;
  }

  /** samples: [window, channels] -> into [features] */
  #transformWindow(samples: Float32Array, into: Float32Array): void {
    const { dilations, biasesAt, window } = this.parameters;
    this.#quantize(samples);
    let first = 0;
    dilations.forEach((dilation, place) => {
      this.#sumPlaces(dilation);
      for (const { subset, kernels } of this.#groups[place]) {
        this.#sumChannels(subset);
        for (const kernel of kernels) {
          const shifts = shiftsOf(kernel, dilation);
          // Kernels take turns, and begin the other way round at the next dilation.
          const cut = (place + kernel) % 2 === 0 ? 0 : HALF * dilation;
          for (let index = 0; index < biasesAt[place]; index++) {
            const feature = first + kernel * biasesAt[place] + index;
            into[feature] = this.#counter.countAbove(this.#biases[feature], shifts, cut, window - cut) / (window - 2 * cut);
          }
        }
      }
      first += biasesAt[place] * KERNELS.length;
    });
  }

  /** Rounds the samples of a window. samples: [window, channels] */
  #quantize(samples: Float32Array): void {
    const { window, channels, limit } = this.parameters;
    for (let channel = 0; channel < channels; channel++) {
      const tripled = this.#tripled[channel];
      for (let t = 0; t < window; t++) {
        const value = samples[t * channels + channel];
        tripled[this.#margin + t] = 3 * Math.round(this.#scale * Math.max(-limit, Math.min(limit, value)));
      }
    }
  }

  /** The part that all kernels have in common, of every channel: minus the sum over the nine places. */
  #sumPlaces(dilation: number): void {
    this.#places.forEach((places, channel) => {
      places.fill(0);
      for (let place = -HALF; place <= HALF; place++) addTo(places, this.#tripled[channel], this.#margin + place * dilation);
      for (let t = 0; t < places.length; t++) places[t] /= -3;
    });
  }

  /** Adds up a subset of channels, and what its kernels have in common. */
  #sumChannels(subset: readonly number[]): void {
    this.#counter.tripled.fill(0);
    this.#counter.base.fill(0);
    for (const channel of subset) {
      addTo(this.#counter.tripled, this.#tripled[channel], 0);
      addTo(this.#counter.base, this.#places[channel], 0);
    }
  }
}

function addTo(target: Int32Array, values: Int32Array, from: number): void {
  for (let t = 0; t < target.length; t++) target[t] += values[from + t];
}

/** Where a kernel's three heavy places lie relative to a sample. */
function shiftsOf(kernel: number, dilation: number): readonly number[] {
  return KERNELS[kernel].map((place) => (place - HALF) * dilation);
}

function groupKernels(subsets: readonly (readonly number[])[]): KernelGroup[] {
  const groups = new Map<string, { subset: readonly number[]; kernels: number[] }>();
  subsets.forEach((subset, kernel) => {
    const group = groups.get(subset.join()) ?? { subset, kernels: [] };
    group.kernels.push(kernel);
    groups.set(subset.join(), group);
  });
  return [...groups.values()];
}

/** Subsets of 1 to 9 channels, small ones as likely as large ones on a logarithmic scale. */
function drawSubsets(count: number, channels: number, random: Random): number[][] {
  const exponent = Math.log2(Math.min(channels, LENGTH) + 1);
  return Array.from({ length: count }, () => {
    const size = Math.floor(2 ** (random.uniform() * exponent));
    const order = random.shuffle(Array.from({ length: channels }, (_, channel) => channel));
    return order.slice(0, size).sort((a, b) => a - b);
  });
}

/**
 * Dilations 2^e, rounded down, for equally spaced e from 0 to where a kernel is as long as the window, and how many of a kernel's
 * features each gets: as many as fell on it by rounding, times what is left over; a remainder goes to the smallest first.
 */
export function fitDilations(
  window: number,
  featuresPerKernel: number,
  maxDilations: number,
): { readonly dilations: number[]; readonly biasesAt: number[] } {
  const steps = Math.min(featuresPerKernel, maxDilations);
  const exponent = Math.log2((window - 1) / (LENGTH - 1));
  const counts = new Map<number, number>();
  for (let step = 0; step < steps; step++) {
    const dilation = Math.floor(2 ** (steps === 1 ? 0 : (exponent * step) / (steps - 1)));
    counts.set(dilation, (counts.get(dilation) ?? 0) + 1);
  }
  const biasesAt = Array.from(counts.values(), (count) => Math.floor((count * featuresPerKernel) / steps));
  for (let rest = featuresPerKernel - biasesAt.reduce((a, b) => a + b, 0), place = 0; rest > 0; rest--, place++)
    biasesAt[place % biasesAt.length]++;
  return { dilations: [...counts.keys()], biasesAt };
}

/** Linear between the order statistics. sorted: [n]; share: 0 to 1 */
function quantile(sorted: Int32Array, share: number): number {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]);
}
