import { Refusal } from '../refusal.ts';

export interface HalvingOptions {
  /** The least that a trial is trained, in steps: r in the paper. */
  readonly minResource: number;
  /** The most: R in the paper. */
  readonly maxResource: number;
  /** One trial of so many goes on to a rung of so many times the resource. */
  readonly eta: number;
  /** Rungs left out at the bottom, against stopping good trials too early: s in the paper. */
  readonly earlyStoppingRate: number;
}

/** The resource of every rung, minResource * eta^(s + rung), none above maxResource. @throws Refusal search/resource */
export function rungResources({ minResource, maxResource, eta, earlyStoppingRate }: HalvingOptions): number[] {
  const refuse = (complaint: string): never => {
    throw new Refusal('search/resource', complaint);
  };
  if (![minResource, maxResource].every((resource) => Number.isSafeInteger(resource) && resource >= 1))
    refuse(`resources from ${minResource} to ${maxResource} are no whole steps; give two numbers of 1 or more`);
  if (!Number.isSafeInteger(eta) || eta < 2) refuse(`eta ${eta} promotes everything; give a whole number of 2 or more`);
  if (!Number.isSafeInteger(earlyStoppingRate) || earlyStoppingRate < 0) refuse(`early-stopping rate ${earlyStoppingRate} is no count`);
  const resources: number[] = [];
  for (let resource = minResource * eta ** earlyStoppingRate; resource <= maxResource; resource *= eta) resources.push(resource);
  if (resources.length === 0)
    refuse(`the first rung needs ${minResource * eta ** earlyStoppingRate} steps, the most are ${maxResource}; lower the least resource`);
  return resources;
}

export interface Promotion {
  readonly trial: number;
  /** The rung that it goes to. */
  readonly rung: number;
}

/**
 * Asynchronous successive halving: who deserves more training, decided whenever a worker is free.
 *
 * Does: a trial of a rung is promoted when it is among the best 1/eta of those that have finished the rung so far; the highest rung is asked first. No
 * worker ever waits for a rung to fill. Is wrong when the order of the trials at little training is not that at much (a low learning rate starts
 * slowly): leave out the lowest rungs. Promotes some that a full rung would not have: about the square root of the rung's size.
 *
 * @example
 * const halving = new SuccessiveHalving(rungResources({ minResource: 10, maxResource: 160, eta: 4, earlyStoppingRate: 0 }), 4);
 * [0.3, 0.1, 0.4, 0.2].forEach((loss, trial) => { halving.start(trial, 0); halving.finish(trial, 0, loss); });
 * halving.promotion(); // { trial: 1, rung: 1 }, to be trained for 40 steps
 * @see Li, Jamieson, Rostamizadeh, Gonina, Hardt, Recht, Talwalkar 2020, "A system for massively parallel hyperparameter tuning", MLSys, algorithm 2
 */
export class SuccessiveHalving {
  readonly resources: readonly number[];
  readonly #eta: number;
  /** For each rung the trials that finished it, and those that were sent on from it. */
  readonly #finished: { trial: number; loss: number }[][];
  readonly #promoted: Set<number>[];

  constructor(resources: readonly number[], eta: number) {
    this.resources = resources;
    this.#eta = eta;
    this.#finished = resources.map(() => []);
    this.#promoted = resources.map(() => new Set());
  }

  /** A trial begins a rung. */
  start(trial: number, rung: number): void {
    if (rung > 0) this.#promoted[rung - 1].add(trial);
  }

  /** A trial ends a rung. @param loss lower is better; Infinity for a failed one, which makes up the number but is never promoted */
  finish(trial: number, rung: number, loss: number): void {
    const finished = this.#finished[rung];
    // Kept sorted; of two equals the earlier trial comes first, whichever finished first.
    const place = finished.findIndex((other) => loss < other.loss || (loss === other.loss && trial < other.trial));
    finished.splice(place < 0 ? finished.length : place, 0, { trial, loss });
  }

  /** The promotion that is due, if any; it stays due until that trial starts. */
  promotion(): Promotion | undefined {
    for (let rung = this.resources.length - 2; rung >= 0; rung--) {
      const finished = this.#finished[rung];
      const best = finished.slice(0, Math.floor(finished.length / this.#eta));
      const due = best.find(({ trial, loss }) => loss !== Number.POSITIVE_INFINITY && !this.#promoted[rung].has(trial));
      if (due) return { trial: due.trial, rung: rung + 1 };
    }
    return undefined;
  }
}
