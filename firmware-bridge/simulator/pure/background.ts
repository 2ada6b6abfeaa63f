import type { PerCondition } from './conditions.ts';
import type { Machine } from './machine.ts';
import { BLOCK, BLOCK_SECONDS, type Operation, Oscillator, SAMPLE_RATE_HZ, Wander } from './operation.ts';
import { Random } from './random.ts';
import { type Force, ImpactTrain, type Source } from './source.ts';

/** Mean time between two bumps from outside: a door, a fork-lift, a dropped tool. */
const SECONDS_BETWEEN_BUMPS = 40;

const NEIGHBOUR_DIRECTION = [0.5, 1, 0.3];
const BUMP_DIRECTION = [0.6, 1, 0.4];

/** What shakes a machine in any health: its process, a neighbour through the floor, and now and then a bump. */
export class BackgroundSource implements Source {
  readonly #floorG: number;
  readonly #ratedHz: number;
  readonly #flow: Wander;
  readonly #noise: Random;
  readonly #neighbour: Oscillator;
  readonly #neighbourHz: number;
  readonly #neighbourG: number;
  readonly #bumps: Random;
  readonly #bump = new ImpactTrain();

  constructor(machine: Machine, seed: number) {
    const individual = new Random(machine.seed, 'background');
    this.#floorG = machine.floorG;
    this.#ratedHz = machine.ratedRpm / 60;
    this.#neighbourHz = individual.logUniform(12, 60);
    this.#neighbourG = machine.floorG * individual.uniform(0, 0.8);
    this.#noise = new Random(seed, 'background');
    this.#bumps = new Random(seed, 'bumps');
    this.#flow = new Wander(this.#bumps, 0.12, 2);
    this.#neighbour = new Oscillator(this.#bumps.uniform());
  }

  addTo(force: Force, operation: Operation, _severity: PerCondition): void {
    const level =
      this.#floorG * (operation.shaftHz / this.#ratedHz) * (0.7 + 0.4 * operation.load) * Math.max(0.5, 1 + this.#flow.advance());
    this.#neighbour.advance(this.#neighbourHz / SAMPLE_RATE_HZ);
    const { cos } = this.#neighbour;
    for (let axis = 0; axis < 3; axis++) {
      const target = force[axis];
      const tone = this.#neighbourG * NEIGHBOUR_DIRECTION[axis];
      for (let i = 0; i < BLOCK; i++) target[i] += level * this.#noise.gaussian() + tone * cos[i];
    }
    this.#bump.begin();
    if (this.#bumps.uniform() < BLOCK_SECONDS / SECONDS_BETWEEN_BUMPS) {
      this.#bump.strike(0, this.#bumps.uniform(), this.#floorG * this.#bumps.uniform(5, 20));
    }
    this.#bump.addTo(force, BUMP_DIRECTION);
  }
}
