import type { Machine } from './machine.ts';
import { BLOCK, SAMPLE_RATE_HZ } from './operation.ts';
import { Random } from './random.ts';
import { SensorFault, type SensorFaultKind } from './sensor-fault.ts';
import { createForce, type Force } from './source.ts';
import { Biquad } from './structure.ts';

/** Measuring range of the accelerometer: nothing leaves it. */
export const FULL_SCALE_G = 16;
/** Corner of the AC coupling, which takes gravity and offsets away before the sampler. */
const COUPLING_HZ = 0.5;

/** From the housing's motion to three channels: orientation, AC coupling, band limit, gain, noise, and then what may be wrong with the sensor. */
export class SensorChain {
  /** The channels over the present block, in g. */
  readonly channels: Force = createForce();
  readonly #turned = new Float64Array(BLOCK);
  readonly #mixing: readonly (readonly number[])[];
  readonly #noiseG: number;
  readonly #noise: Random;
  readonly #lowPass: readonly Biquad[];
  readonly #offset = new Float64Array(3);
  readonly #fault: SensorFault;

  constructor(machine: Machine, seed: number, kind: SensorFaultKind | undefined) {
    const { rotation, gain, noiseG, bandwidthHz } = machine.sensor;
    this.#mixing = rotation.map((row, channel) => row.map((entry) => entry * gain[channel]));
    this.#noiseG = noiseG;
    this.#noise = new Random(seed, 'sensor noise');
    this.#lowPass = [0, 1, 2].map(() => Biquad.lowPass(bandwidthHz));
    this.#fault = new SensorFault(new Random(seed, 'sensor fault'), kind);
  }

  get faultKind(): SensorFaultKind {
    return this.#fault.kind;
  }

  measure(motion: Force, faultSeverity: number): void {
    const turned = this.#turned;
    const [x, y, z] = motion;
    const coupling = (2 * Math.PI * COUPLING_HZ) / SAMPLE_RATE_HZ;
    for (let channel = 0; channel < 3; channel++) {
      const [mx, my, mz] = this.#mixing[channel];
      let offset = this.#offset[channel];
      for (let i = 0; i < BLOCK; i++) {
        const value = mx * x[i] + my * y[i] + mz * z[i];
        offset += coupling * (value - offset);
        turned[i] = value - offset;
      }
      this.#offset[channel] = offset;
      const output = this.channels[channel];
      for (let i = 0; i < BLOCK; i++) output[i] = this.#noiseG * this.#noise.gaussian();
      this.#lowPass[channel].addTo(output, turned);
    }
    this.#fault.apply(this.channels, faultSeverity);
    for (const output of this.channels) {
      for (let i = 0; i < BLOCK; i++) output[i] = Math.min(FULL_SCALE_G, Math.max(-FULL_SCALE_G, output[i]));
    }
  }
}
