import type { Detector } from './detector.ts';

/** Distance of the latest rows from a reference that is known beforehand; rows come and go one at a time. */
export interface WindowDistance {
  /** row: [width] */
  push(row: ArrayLike<number>): void;
  /** Of the rows that it holds. */
  value(): number;
  clear(): void;
}

export interface OnlineDistanceOptions {
  readonly distance: WindowDistance;
  /** Rows that `distance` holds before it is asked. */
  readonly window: number;
  readonly threshold: number;
}

/**
 * Alarms when the latest rows lie too far from the reference: MMD or LSDD on embeddings, row by row.
 *
 * Is wrong with a threshold that was found on independent rows: embeddings of windows that follow each other are alike, and the run length falls
 * far below the promised one. `calibrate.ts` takes the distances of a real stream.
 */
export class OnlineDistance implements Detector<ArrayLike<number>> {
  readonly #options: OnlineDistanceOptions;
  #count = 0;
  drifted = false;

  constructor(options: OnlineDistanceOptions) {
    this.#options = options;
  }

  update(x: ArrayLike<number>): void {
    const { distance, window, threshold } = this.#options;
    if (this.drifted) {
      distance.clear();
      this.#count = 0;
    }
    distance.push(x);
    this.#count++;
    this.drifted = this.#count >= window && distance.value() > threshold;
  }
}
