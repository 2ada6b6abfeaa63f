import type { Detector } from './detector.ts';

export interface MartingaleOptions {
  /** Bets against exchangeability: densities on [0, 1] 1 + e (p - 1/2). Default -1, 0, 1, as the source has it. */
  readonly slopes?: readonly number[];
  /** Share of the capital that is spread anew over the bets before each value. Default 0.01. */
  readonly jump?: number;
  /** Capital at which it drifts: a stream that is exchangeable ever reaches it with a probability of at most 1 / capital. Default 100. */
  readonly capital?: number;
}

/**
 * Simple jumper martingale on conformal p-values: bets that they are not uniform, and alarms when the bets have won too much to be luck (Ville's
 * inequality). x: the p-value of a value among those of the past, 0 to 1, with ties broken at random.
 *
 * Is wrong for windows that overlap or follow each other on a machine: they are not exchangeable, and the bets win on that too. So the product's
 * chain has thresholds from blocks of the stream instead.
 *
 * Vovk et al. (2021), Retrain or not retrain: conformal test martingales for change-point detection.
 */
export class ConformalMartingale implements Detector {
  readonly #slopes: readonly number[];
  readonly #jump: number;
  readonly #limit: number;
  readonly #capital: Float64Array;
  drifted = false;

  constructor({ slopes = [-1, 0, 1], jump = 0.01, capital = 100 }: MartingaleOptions = {}) {
    this.#slopes = slopes;
    this.#jump = jump;
    this.#limit = capital;
    this.#capital = new Float64Array(slopes.length);
    this.#begin();
  }

  /** What one unit has become. */
  get capital(): number {
    let sum = 0;
    for (const part of this.#capital) sum += part;
    return sum;
  }

  update(x: number): void {
    if (this.drifted) this.#begin();
    const spread = (this.#jump * this.capital) / this.#slopes.length;
    for (let bet = 0; bet < this.#slopes.length; bet++) {
      this.#capital[bet] = ((1 - this.#jump) * this.#capital[bet] + spread) * (1 + this.#slopes[bet] * (x - 0.5));
    }
    this.drifted = this.capital >= this.#limit;
  }

  #begin(): void {
    this.drifted = false;
    this.#capital.fill(1 / this.#slopes.length);
  }
}
