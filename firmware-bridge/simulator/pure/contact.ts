import type { PerCondition } from './conditions.ts';
import type { Machine } from './machine.ts';
import { BLOCK, type Operation, SAMPLE_RATE_HZ } from './operation.ts';
import { Random } from './random.ts';
import { type Force, ImpactTrain, type Source } from './source.ts';

/** Below this level a rattle or a rub makes no contact at all. */
const CONTACT_LEVEL = 0.05;

const LANDING_DIRECTION = [0.35, 1, 0.2];

/**
 * A rotor that touches its housing over a part of each turn: friction noise in bursts at 1x, harder every other turn.
 *
 * Contact noise reaches far above 500 Hz; this is the part that a 1 kHz stream can carry.
 */
export class RubSource implements Source {
  readonly #random: Random;
  readonly #strength: number;
  readonly #arc: number;
  readonly #everyOther: number;

  constructor(machine: Machine, seed: number) {
    const individual = new Random(machine.seed, 'rub');
    this.#strength = machine.floorG * individual.uniform(16, 22);
    this.#arc = individual.uniform(0.15, 0.3);
    this.#everyOther = individual.uniform(0.3, 0.7);
    this.#random = new Random(seed, 'rub');
  }

  addTo(force: Force, operation: Operation, severity: PerCondition): void {
    if (severity.rub < CONTACT_LEVEL) return;
    const amplitude = severity.rub * this.#strength;
    const [horizontal, vertical, axial] = force;
    const { turns } = operation.halfShaft;
    for (let i = 0; i < BLOCK; i++) {
      const half = 2 * turns[i];
      const odd = half >= 1;
      const along = (odd ? half - 1 : half) / this.#arc;
      if (along >= 1) continue;
      const hold = 4 * along * (1 - along) * (odd ? this.#everyOther : 1); // a parabola in place of a half sine
      const friction = amplitude * hold;
      horizontal[i] += friction * this.#random.gaussian();
      vertical[i] += friction * (0.8 * this.#random.gaussian() + 0.5); // the housing pushes back
      axial[i] += 0.4 * friction * this.#random.gaussian();
    }
  }
}

/**
 * A loose foot: the vertical force is cut off on the side where the foot lifts, and the landing rings the structure once a turn,
 * with a scatter that no rotating part has. Runs after every source of vertical force that the foot carries.
 */
export class LooseFootSource implements Source {
  readonly #random: Random;
  readonly #strength: number;
  readonly #landing: number;
  readonly #everyOther: number;
  readonly #train = new ImpactTrain();
  #meanSquare: number;

  constructor(machine: Machine, seed: number) {
    const individual = new Random(machine.seed, 'loose foot');
    this.#strength = machine.floorG * individual.uniform(22, 30);
    this.#landing = individual.uniform();
    this.#everyOther = individual.uniform(0.4, 0.8);
    this.#random = new Random(seed, 'loose foot');
    this.#meanSquare = machine.floorG ** 2;
  }

  addTo(force: Force, operation: Operation, severity: PerCondition): void {
    const level = severity.looseness;
    const vertical = force[1];
    for (let i = 0; i < BLOCK; i++) this.#meanSquare += (vertical[i] * vertical[i] - this.#meanSquare) / 512;
    this.#train.begin();
    const { turns } = operation.halfShaft;
    const perSample = operation.shaftHz / SAMPLE_RATE_HZ;
    if (level >= CONTACT_LEVEL) {
      const limit = (1.8 - 1.2 * level) * Math.sqrt(this.#meanSquare);
      for (let i = 0; i < BLOCK; i++) {
        if (vertical[i] > limit) vertical[i] = limit + 0.25 * (vertical[i] - limit);
        const sinceLanding = (2 * turns[i] + 1 - this.#landing) % 1;
        if (sinceLanding < perSample) {
          const hardness = (turns[i] >= 0.5 ? this.#everyOther : 1) * (1 + 0.4 * this.#random.gaussian());
          this.#train.strike(i, sinceLanding / perSample, level * this.#strength * hardness);
        }
      }
    }
    this.#train.addTo(force, LANDING_DIRECTION);
  }
}
