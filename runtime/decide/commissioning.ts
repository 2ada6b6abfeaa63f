/**
 * A machine's reference: the mean of the graph's `features` [R] over its first healthy windows. The graph subtracts it from then on, so that the model
 * sees how a machine differs from itself, not from the machines of training.
 *
 * Is wrong when the machine is faulty from the first day: then the fault becomes the reference. So a window counts only where its p-value
 * says healthy or an operator answers for it.
 */
export class Commissioning {
  readonly #sum: Float64Array;
  readonly #needed: number;
  #seen = 0;
  #vouched = false;

  /** @param size numbers of a reference, R @param needed healthy windows */
  constructor(size: number, needed: number) {
    this.#sum = new Float64Array(size);
    this.#needed = needed;
  }

  /** Healthy windows so far. */
  get seen(): number {
    return this.#seen;
  }

  /** An operator says that the machine is healthy: the windows to come count whatever the model thinks. */
  vouch(): void {
    this.#vouched = true;
  }

  /**
   * Takes a window. features: [R]
   *
   * @returns the reference [R] once there are enough
   */
  add(features: Float32Array, healthy: boolean): Float32Array | undefined {
    if (!(healthy || this.#vouched)) return undefined;
    // One window that is not a number would spoil the mean for good.
    if (!features.every(Number.isFinite)) return undefined;
    for (let index = 0; index < features.length; index++) this.#sum[index] += features[index];
    this.#seen++;
    return this.#seen >= this.#needed ? Float32Array.from(this.#sum, (sum) => sum / this.#seen) : undefined;
  }
}
