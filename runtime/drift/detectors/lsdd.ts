import type { Rows } from '../kernels.ts';
import { rowCount } from '../kernels.ts';
import { type LsddBasis, type LsddSystem, lsddOf, lsddSystem, meanKernels } from '../two-sample.ts';
import type { WindowDistance } from './online-distance.ts';

/**
 * LSDD of the latest rows from a reference: the kernels of a row about the centres are made once, their mean moves with the window.
 *
 * Bu et al. (2018), A pdf-free change detection test based on density difference estimation.
 */
export class LsddWindow implements WindowDistance {
  readonly #basis: LsddBasis;
  readonly #system: LsddSystem;
  readonly #reference: Float64Array;
  readonly #window: number;
  #kernels: Float64Array[] = [];

  constructor(reference: Rows, { window, ...basis }: LsddBasis & { readonly window: number }) {
    this.#basis = basis;
    this.#system = lsddSystem(basis);
    this.#reference = meanKernels(reference, basis);
    this.#window = window;
  }

  push(row: ArrayLike<number>): void {
    if (this.#kernels.length === this.#window) this.#kernels.shift();
    this.#kernels.push(meanKernels({ values: row, width: row.length }, this.#basis));
  }

  value(): number {
    const mean = new Float64Array(rowCount(this.#basis.centres));
    for (const kernels of this.#kernels) for (let at = 0; at < mean.length; at++) mean[at] += kernels[at] / this.#kernels.length;
    return lsddOf(this.#reference, mean, this.#system);
  }

  clear(): void {
    this.#kernels = [];
  }
}
