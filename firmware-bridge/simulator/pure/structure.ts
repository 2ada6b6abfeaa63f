import type { Machine } from './machine.ts';
import { BLOCK, SAMPLE_RATE_HZ } from './operation.ts';
import { createForce, type Force } from './source.ts';

/** A second-order section in transposed direct form II; denominators are normalised to 1. */
export class Biquad {
  readonly #b0: number;
  readonly #b1: number;
  readonly #b2: number;
  readonly #a1: number;
  readonly #a2: number;
  #z1 = 0;
  #z2 = 0;

  private constructor(b0: number, b1: number, b2: number, a1: number, a2: number) {
    this.#b0 = b0;
    this.#b1 = b1;
    this.#b2 = b2;
    this.#a1 = a1;
    this.#a2 = a2;
  }

  /** Acceleration of a mass on a spring and damper per force on it: s^2 / (s^2 + 2 zeta w s + w^2), by the bilinear transform. */
  static resonance(frequencyHz: number, damping: number, gain: number): Biquad {
    const k = Math.tan((Math.PI * frequencyHz) / SAMPLE_RATE_HZ);
    const norm = 1 / (1 + 2 * damping * k + k * k);
    return new Biquad(gain * norm, -2 * gain * norm, gain * norm, 2 * (k * k - 1) * norm, (1 - 2 * damping * k + k * k) * norm);
  }

  /** Butterworth, second order. */
  static lowPass(cornerHz: number): Biquad {
    const k = Math.tan((Math.PI * cornerHz) / SAMPLE_RATE_HZ);
    const norm = 1 / (1 + Math.SQRT2 * k + k * k);
    const b = k * k * norm;
    return new Biquad(b, 2 * b, b, 2 * (k * k - 1) * norm, (1 - Math.SQRT2 * k + k * k) * norm);
  }

  /** Adds the response to `input` to `output`. */
  addTo(output: Float64Array, input: Float64Array): void {
    const b0 = this.#b0;
    const b1 = this.#b1;
    const b2 = this.#b2;
    const a1 = this.#a1;
    const a2 = this.#a2;
    let z1 = this.#z1;
    let z2 = this.#z2;
    for (let i = 0; i < BLOCK; i++) {
      const x = input[i];
      const y = b0 * x + z1;
      z1 = b1 * x - a1 * y + z2;
      z2 = b2 * x - a2 * y;
      output[i] += y;
    }
    this.#z1 = z1;
    this.#z2 = z2;
  }
}

/** From the forces on the rotor to the motion of the housing: a rigid body on its mounting, and two modes on each axis. */
export class Structure {
  /** Acceleration of the present block in machine axes, in g. */
  readonly motion: Force = createForce();
  readonly #rigidGain: Machine['rigidGain'];
  readonly #modes: readonly { axis: number; section: Biquad }[];

  constructor(machine: Machine) {
    this.#rigidGain = machine.rigidGain;
    this.#modes = machine.modes.map(({ axis, frequencyHz, damping, gain }) => ({
      axis,
      section: Biquad.resonance(frequencyHz, damping, gain),
    }));
  }

  respond(force: Force): void {
    for (let axis = 0; axis < 3; axis++) {
      for (let i = 0; i < BLOCK; i++) this.motion[axis][i] = this.#rigidGain[axis] * force[axis][i];
    }
    for (const { axis, section } of this.#modes) section.addTo(this.motion[axis], force[axis]);
  }
}
