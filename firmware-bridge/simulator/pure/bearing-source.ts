import { bearingOrders } from './bearing.ts';
import type { PerCondition } from './conditions.ts';
import type { Machine } from './machine.ts';
import { BLOCK, type Operation, SAMPLE_RATE_HZ } from './operation.ts';
import { Random } from './random.ts';
import { type Force, ImpactTrain, type Source } from './source.ts';

/** Deviation of the distance between two impacts, as a share of it: rollers slip a little (Antoni and Randall 2003: about 1 %). */
const SLIP = { outer: 0.006, inner: 0.008, ball: 0.012 };
/** A ball's hits on the inner race, relative to those on the outer race, which is nearer to the sensor. */
const INNER_CONTACT = 0.65;

/** One kind of defect: when it is struck, and what it shakes. */
interface Defect {
  readonly train: ImpactTrain;
  readonly direction: readonly number[];
  /** Impacts per turn of the shaft, slip included. */
  readonly order: number;
  readonly slip: number;
  /** Impacts passed so far, and where the next one falls. Both are wound back together. */
  passed: number;
  next: number;
}

/**
 * Impacts of rolling elements on a spall, on the outer race, the inner race or a roller.
 *
 * A spall on the outer race lies still in the load zone: even impacts at BPFO. One on the inner race turns through the zone: impacts
 * at BPFI under the shaft's 1x. One on a ball strikes both races, twice a spin, and goes through the zone with the cage: 2 BSF under FTF.
 *
 * Real spalls ring structures at 2 to 20 kHz. None of that passes 1 kHz sampling: what is modelled is the same train of impacts
 * ringing the structure's modes below 500 Hz, which is what a low-rate sensor sees of a grown defect.
 */
export class BearingSource implements Source {
  readonly #random: Random;
  readonly #strength: number;
  readonly #ratedHz: number;
  /** Half width of Stribeck's load zone: 0.5 is half the circumference. */
  readonly #zone: number;
  readonly #cagePerTurn: number;
  readonly #outer: Defect;
  readonly #inner: Defect;
  readonly #ball: Defect;
  #cageTurns: number;
  #contact = 0;

  constructor(machine: Machine, seed: number) {
    const individual = new Random(machine.seed, 'spall');
    this.#strength = machine.floorG * individual.uniform(40, 50);
    this.#ratedHz = machine.ratedRpm / 60;
    this.#zone = individual.uniform(0.45, 0.65);
    const orders = bearingOrders(machine.bearing);
    const { rollers } = machine.bearing;
    // The cage lags behind pure rolling, and what it carries with it.
    const lag = 1 - individual.uniform(0, 0.015);
    this.#cagePerTurn = orders.cage * lag;
    this.#random = new Random(seed, 'spall');
    const defect = (order: number, slip: number, direction: readonly number[]): Defect => ({
      train: new ImpactTrain(),
      direction,
      order,
      slip,
      passed: this.#random.uniform(),
      next: 1,
    });
    const sideways = individual.uniform(0.2, 0.6);
    this.#outer = defect(rollers * this.#cagePerTurn, SLIP.outer, [sideways, 1, 0.12]);
    this.#inner = defect(rollers * (1 - this.#cagePerTurn), SLIP.inner, [0.8, 0.7, 0.2]);
    this.#ball = defect(2 * orders.spin * lag, SLIP.ball, [0.5, 0.65, 0.75]);
    this.#cageTurns = this.#random.uniform();
  }

  addTo(force: Force, operation: Operation, severity: PerCondition): void {
    const hardness = this.#strength * (operation.shaftHz / this.#ratedHz) * (0.6 + 0.4 * operation.load);
    const turnsPerSample = operation.shaftHz / SAMPLE_RATE_HZ;
    this.#strike(this.#outer, operation, turnsPerSample, hardness * severity.bearing_outer);
    this.#strike(this.#inner, operation, turnsPerSample, hardness * severity.bearing_inner);
    this.#strike(this.#ball, operation, turnsPerSample, hardness * severity.bearing_ball);
    this.#cageTurns = (this.#cageTurns + BLOCK * turnsPerSample * this.#cagePerTurn) % 1;
    for (const { train, direction } of [this.#outer, this.#inner, this.#ball]) train.addTo(force, direction);
  }

  #strike(defect: Defect, operation: Operation, turnsPerSample: number, strength: number): void {
    const step = turnsPerSample * defect.order;
    defect.train.begin();
    for (let i = 0; i < BLOCK; i++) {
      defect.passed += step;
      if (defect.passed < defect.next) continue;
      const late = (defect.passed - defect.next) / step;
      const scatter = 1 + 0.15 * this.#random.gaussian();
      defect.train.strike(i, Math.min(1, late), strength * scatter * this.#load(defect, operation, i, turnsPerSample));
      defect.passed -= defect.next;
      defect.next = 1 + defect.slip * this.#random.gaussian();
    }
  }

  /**
   * How hard the roller is pressed on the defect where it is now. The factors let the three defects shake about as much at one severity,
   * though two of them leave the load zone in each turn.
   */
  #load(defect: Defect, operation: Operation, i: number, turnsPerSample: number): number {
    if (defect === this.#outer) return 1.3;
    if (defect === this.#inner) return 1.5 * this.#inZone(2 * operation.halfShaft.turns[i]);
    this.#contact = 1 - this.#contact;
    return 1.9 * (this.#contact === 0 ? INNER_CONTACT : 1) * this.#inZone(this.#cageTurns + i * turnsPerSample * this.#cagePerTurn);
  }

  /** Stribeck's distribution of the load about the direction it pulls in; a little preload remains outside the zone. */
  #inZone(turns: number): number {
    const share = 1 - (1 - Math.cos(2 * Math.PI * turns)) / (2 * this.#zone);
    return share > 0 ? 0.08 + 0.92 * share * Math.sqrt(share) : 0.08;
  }
}
