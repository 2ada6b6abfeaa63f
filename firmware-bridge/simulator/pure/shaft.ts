import type { Condition, PerCondition } from './conditions.ts';
import type { Machine } from './machine.ts';
import { BLOCK, type Operation, Wander } from './operation.ts';
import { Random } from './random.ts';
import { type Force, inBand, type Source, velocityToG } from './source.ts';

/** Half orders of the shaft that are synthesised: 0.5x to 8x. */
const HALF_ORDERS = 16;
/** One order takes a cosine and a sine amplitude on three axes. */
const STRIDE = 6;

/** Amplitude and phase of every half order on every axis: [HALF_ORDERS, 3 axes, cosine and sine] in g. */
type Signature = Float64Array;

/**
 * Forces that repeat with the shaft: imbalance, misalignment, looseness and rub, each a fixed signature of the individual
 * that grows with the fault's severity.
 *
 * Imbalance turns with the shaft and grows with the square of its speed. Misalignment is twice a revolution and axial, and
 * follows the load. Looseness rattles through many orders and half orders whose strength wanders.
 */
export class ShaftSource implements Source {
  readonly #signatures: readonly {
    condition: Condition;
    amplitudes: Signature;
  }[];
  readonly #total = new Float64Array(HALF_ORDERS * STRIDE);
  readonly #looseWander: Wander;
  readonly #ratedHz: number;

  constructor(machine: Machine, seed: number) {
    this.#ratedHz = machine.ratedRpm / 60;
    const random = new Random(machine.seed, 'shaft');
    this.#signatures = [
      {
        condition: 'imbalance',
        amplitudes: imbalance(random, this.#ratedHz),
      },
      {
        condition: 'misalignment',
        amplitudes: misalignment(random, this.#ratedHz),
      },
      {
        condition: 'looseness',
        amplitudes: looseness(random, this.#ratedHz),
      },
      { condition: 'rub', amplitudes: rub(random, this.#ratedHz) },
    ];
    this.#looseWander = new Wander(new Random(seed, 'looseness'), 0.25, 0.4);
  }

  addTo(force: Force, operation: Operation, severity: PerCondition): void {
    this.#sumSignatures(operation, severity);
    this.#fadeOut(operation.shaftHz);
    const total = this.#total;
    const [horizontal, vertical, axial] = force;
    const { cos, sin } = operation.halfShaft;
    for (let i = 0; i < BLOCK; i++) {
      const twice = 2 * cos[i];
      // cos k a = 2 cos a cos (k - 1) a - cos (k - 2) a, and the same for the sine.
      let c = cos[i];
      let s = sin[i];
      let cBefore = 1;
      let sBefore = 0;
      let h = 0;
      let v = 0;
      let a = 0;
      for (let k = 0; k < HALF_ORDERS * STRIDE; k += STRIDE) {
        h += total[k] * c + total[k + 1] * s;
        v += total[k + 2] * c + total[k + 3] * s;
        a += total[k + 4] * c + total[k + 5] * s;
        const cNext = twice * c - cBefore;
        const sNext = twice * s - sBefore;
        cBefore = c;
        sBefore = s;
        c = cNext;
        s = sNext;
      }
      horizontal[i] += h;
      vertical[i] += v;
      axial[i] += a;
    }
  }

  #sumSignatures(operation: Operation, severity: PerCondition): void {
    const speed = operation.shaftHz / this.#ratedHz;
    const wander = Math.max(0.2, 1 + this.#looseWander.advance());
    this.#total.fill(0);
    for (const { condition, amplitudes } of this.#signatures) {
      let scale = severity[condition];
      if (condition === 'imbalance') scale *= speed * speed;
      else if (condition === 'misalignment') scale *= 0.5 + 0.5 * operation.load;
      else if (condition === 'looseness') scale *= wander;
      for (let k = 0; k < amplitudes.length; k++) this.#total[k] += scale * amplitudes[k];
    }
  }

  #fadeOut(shaftHz: number): void {
    for (let k = 1; k <= HALF_ORDERS; k++) {
      const keep = inBand((k / 2) * shaftHz);
      for (let j = (k - 1) * STRIDE; keep < 1 && j < k * STRIDE; j++) this.#total[j] *= keep;
    }
  }
}

const emptySignature = (): Signature => new Float64Array(HALF_ORDERS * STRIDE);

/** Adds a sine of `amplitude` g at `order` times the shaft on one axis. */
function add(signature: Signature, order: number, axis: 0 | 1 | 2, amplitude: number, phaseTurns: number): void {
  const at = (2 * order - 1) * STRIDE + 2 * axis;
  signature[at] += amplitude * Math.cos(2 * Math.PI * phaseTurns);
  signature[at + 1] += amplitude * Math.sin(2 * Math.PI * phaseTurns);
}

/** A force that turns: the vertical lags the horizontal by a quarter turn; 9 mm/s at severity 1, the middle of ISO 20816-3's zone D. */
function imbalance(random: Random, shaftHz: number): Signature {
  const signature = emptySignature();
  const amplitude = velocityToG(9 * random.uniform(0.8, 1.25), shaftHz);
  const phase = random.uniform();
  add(signature, 1, 0, amplitude, phase);
  add(signature, 1, 1, amplitude * random.uniform(0.7, 1), phase + 0.25 + random.uniform(-0.04, 0.04));
  add(signature, 1, 2, amplitude * random.uniform(0.05, 0.15), random.uniform());
  add(signature, 2, 0, amplitude * random.uniform(0.02, 0.08), random.uniform());
  return signature;
}

/** Two shafts that pull at each other twice a turn: offset shows as radial 2x and 3x, an angle between them as axial 1x and 2x. */
function misalignment(random: Random, shaftHz: number): Signature {
  const signature = emptySignature();
  const angular = random.uniform(0.25, 0.75);
  const offset = 1 - angular;
  const strength = random.uniform(0.85, 1.2);
  const line = (order: number, axis: 0 | 1 | 2, velocityMmS: number): void =>
    add(signature, order, axis, velocityToG(velocityMmS * strength * random.uniform(0.8, 1.2), order * shaftHz), random.uniform());
  const main = random.pick([0, 1] as const);
  line(1, main, 1.5);
  line(2, main, 3 + 5 * offset);
  line(2, main === 0 ? 1 : 0, 1.5 + 2.5 * offset);
  line(3, main, 0.6 + 1.6 * offset);
  line(4, main, 0.4);
  line(1, 2, 1 + 6 * angular);
  line(2, 2, 1.5 + 3 * angular);
  line(3, 2, 0.3 + angular);
  return signature;
}

/** A foot that lifts: a truncated motion, mostly vertical, with all orders and, as it lands differently every other turn, half orders. */
function looseness(random: Random, shaftHz: number): Signature {
  const signature = emptySignature();
  const first = velocityToG(4 * random.uniform(0.8, 1.25), shaftHz);
  const halfOrders = random.uniform(0.35, 0.6);
  for (let halfOrder = 1; halfOrder <= HALF_ORDERS; halfOrder++) {
    const order = halfOrder / 2;
    const family = Number.isInteger(order) ? 1 : halfOrders;
    const amplitude = first * family * random.uniform(0.7, 1.3) * Math.max(1, order) ** -0.35;
    const phase = random.uniform();
    add(signature, order, 1, amplitude, phase);
    add(signature, order, 0, amplitude * random.uniform(0.3, 0.55), phase + random.uniform(-0.1, 0.1));
    add(signature, order, 2, amplitude * random.uniform(0.1, 0.25), random.uniform());
  }
  return signature;
}

/** A rotor that touches its housing and rebounds: a half-order whirl, with a rise of 1x. The broad-band part is `RubSource`'s. */
function rub(random: Random, shaftHz: number): Signature {
  const signature = emptySignature();
  const whirl = velocityToG(6 * random.uniform(0.8, 1.25), shaftHz / 2);
  for (const [order, share] of [
    [0.5, 1],
    [1, 1.2],
    [1.5, 0.7],
    [2.5, 0.3],
  ]) {
    const phase = random.uniform();
    add(signature, order, 0, whirl * share * random.uniform(0.8, 1.2), phase);
    add(signature, order, 1, whirl * share * random.uniform(0.8, 1.2), phase - 0.25); // backward whirl
  }
  return signature;
}
