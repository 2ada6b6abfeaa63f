import type { PerCondition } from './conditions.ts';
import { BLOCK, type Operation } from './operation.ts';

/** Force on the structure over one block, in g of the rigid body: horizontal, vertical, axial. */
export type Force = readonly [horizontal: Float64Array, vertical: Float64Array, axial: Float64Array];

export const createForce = (): Force => [new Float64Array(BLOCK), new Float64Array(BLOCK), new Float64Array(BLOCK)];

/** Something that shakes the machine, at every health: a healthy machine has a little of every fault. */
export interface Source {
  /** Adds this source's share of one block; `severity` has the level of every fault, residuals included. */
  addTo(force: Force, operation: Operation, severity: PerCondition): void;
}

/** Lines fade out between these frequencies, before the sampler's Nyquist frequency of 500 Hz: a sampler's own filter would remove them. */
const FADE_HZ = [400, 470] as const;

/** What is left of a line at `frequencyHz`: 1 in the band, 0 where it would fold back. */
export function inBand(frequencyHz: number): number {
  const [from, to] = FADE_HZ;
  return Math.min(1, Math.max(0, (to - frequencyHz) / (to - from)));
}

const STANDARD_GRAVITY = 9.80665;

/** Peak acceleration in g of a sine of so many millimetres a second rms, the unit of ISO 20816. */
export function velocityToG(velocityMmS: number, frequencyHz: number): number {
  return (velocityMmS * 1e-3 * Math.SQRT2 * 2 * Math.PI * frequencyHz) / STANDARD_GRAVITY;
}

/**
 * Impacts between samples: each is spread over the two samples around it, which keeps its time to a small part of a millisecond
 * and limits its band as a contact of about a millisecond would.
 */
export class ImpactTrain {
  /** The force of this block; the last entry is carried into the next one. */
  readonly pulse = new Float64Array(BLOCK + 1);

  /** Call once a block, before `strike`. */
  begin(): void {
    const carried = this.pulse[BLOCK];
    this.pulse.fill(0);
    this.pulse[0] = carried;
  }

  /** An impact of so many g samples, `late` samples (0 to 1) before sample `at`; it is heard one sample later. */
  strike(at: number, late: number, strength: number): void {
    this.pulse[at] += late * strength;
    this.pulse[at + 1] += (1 - late) * strength;
  }

  addTo(force: Force, direction: ArrayLike<number>): void {
    for (let axis = 0; axis < 3; axis++) {
      const target = force[axis];
      const share = direction[axis];
      for (let i = 0; i < BLOCK; i++) target[i] += share * this.pulse[i];
    }
  }
}
