import { emptyTensor, floatTensor, scalarTensor, type TensorData } from '../../models/engine/engine.ts';
import type { Random } from '../../models/networks/random.ts';
import { type LabelledFeatures, rowsByClass } from './labelled-features.ts';

/** Where rows of a batch come from: a class first, then a row of it, so that every class weighs the same. */
interface Source {
  readonly examples: LabelledFeatures;
  readonly byClass: readonly (readonly number[])[];
}

/** Batches of an adaptation step: some rows of the machine at hand, the rest of what the network knew before. */
export class AdaptationBatches {
  readonly #sources: readonly { readonly source: Source; readonly rows: number }[];
  readonly #random: Random;
  readonly #features: TensorData;
  readonly #target: TensorData;
  readonly #feeds: Readonly<Record<string, TensorData>>;

  /**
   * @param shape of a batch: rows B, features F, classes K
   * @param replayShare share of the rows that replay fills; none where there is no replay
   */
  constructor(
    shape: { readonly rows: number; readonly features: number; readonly classes: number },
    examples: LabelledFeatures,
    replay: LabelledFeatures,
    replayShare: number,
    random: Random,
  ) {
    const { rows, features, classes } = shape;
    const source = (given: LabelledFeatures): Source => ({ examples: given, byClass: rowsByClass(given.labels) });
    const replayed = replay.labels.length === 0 ? 0 : Math.round(rows * replayShare);
    this.#sources = [
      { source: source(examples), rows: rows - replayed },
      { source: source(replay), rows: replayed },
    ];
    this.#random = random;
    this.#features = emptyTensor('float32', [rows, features]);
    this.#target = emptyTensor('float32', [rows, classes]);
    const ones = (size: number) => floatTensor(new Float32Array(size).fill(1), [size]);
    this.#feeds = {
      features: this.#features,
      target: this.#target,
      sampleWeight: ones(rows),
      classWeight: ones(classes),
      labelSmoothing: scalarTensor(0),
    };
  }

  /** Feeds of one step; the tensors are reused, so they hold until the next call. */
  next(): Readonly<Record<string, TensorData>> {
    const random = this.#random;
    const features = this.#features.values as Float32Array;
    const target = (this.#target.values as Float32Array).fill(0);
    const [width, classes] = [this.#features.shape[1], this.#target.shape[1]];
    let at = 0;
    for (const { source, rows } of this.#sources) {
      const { byClass, examples } = source;
      for (let end = at + rows; at < end; at++) {
        const own = byClass[random.below(byClass.length)];
        const row = own[random.below(own.length)];
        features.set(examples.features.subarray(row * width, (row + 1) * width), at * width);
        target[at * classes + examples.labels[row]] = 1;
      }
    }
    return this.#feeds;
  }
}
