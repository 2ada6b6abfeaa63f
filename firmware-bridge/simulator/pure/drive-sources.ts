import type { PerCondition } from './conditions.ts';
import type { Machine } from './machine.ts';
import { BLOCK, type Operation } from './operation.ts';
import { Random } from './random.ts';
import { type Force, inBand, type Source, velocityToG } from './source.ts';

const TURN = 2 * Math.PI;

/**
 * Gear mesh: teeth times shaft speed and its double. Wear raises both, the double more, and lets each turn of the worn wheel
 * modulate amplitude and phase, which puts sidebands at the shaft speed around each line.
 */
export class GearSource implements Source {
  readonly #teeth: number;
  readonly #strength: number;
  readonly #direction: readonly number[];
  readonly #phase: number;
  readonly #depth: number;
  /** Between the swing of the phase and that of the amplitude: it decides which sideband is the higher. */
  readonly #swingPhase: number;

  constructor(machine: Machine) {
    const individual = new Random(machine.seed, 'mesh');
    this.#teeth = machine.gearTeeth;
    this.#strength = machine.floorG * individual.uniform(16, 22);
    this.#direction = [individual.uniform(0.6, 1), individual.uniform(0.6, 1), individual.uniform(0.3, 0.8)];
    this.#phase = individual.uniform();
    this.#depth = individual.uniform(0.6, 0.9);
    this.#swingPhase = individual.uniform(0, TURN);
  }

  addTo(force: Force, operation: Operation, severity: PerCondition): void {
    const wear = severity.gear_wear;
    const meshHz = this.#teeth * operation.shaftHz;
    const amplitude = this.#strength * wear * (0.4 + 0.6 * operation.load);
    const first = inBand(meshHz);
    const second = inBand(2 * meshHz) * (0.3 + 0.5 * wear);
    const depth = this.#depth * Math.min(1, 0.15 + 1.2 * wear);
    const swingCos = 0.9 * wear * Math.cos(this.#swingPhase); // radians
    const swingSin = 0.9 * wear * Math.sin(this.#swingPhase);
    const [horizontal, vertical, axial] = force;
    const [h, v, a] = this.#direction;
    const { cos, sin, turns } = operation.halfShaft;
    for (let i = 0; i < BLOCK; i++) {
      // The shaft's angle is twice the half-order's.
      const shaftSin = 2 * sin[i] * cos[i];
      const shaftCos = 1 - 2 * sin[i] * sin[i];
      const angle = TURN * (this.#teeth * 2 * turns[i] + this.#phase) + swingCos * shaftCos + swingSin * shaftSin;
      const mesh = Math.cos(angle);
      const harmonic = 2 * mesh * mesh - 1;
      const value = amplitude * (1 + depth * shaftCos) * (first * mesh + second * harmonic);
      horizontal[i] += h * value;
      vertical[i] += v * value;
      axial[i] += a * value;
    }
  }
}

/**
 * The motor's field. An unbalanced supply or a shorted stator pulls at twice the mains, steadily: on a line machine through the air
 * gap, on an inverter as the ripple of its direct-current link. Broken rotor bars make 1x and the pull at twice the supply swell
 * at the pole-pass rate, that is, put sidebands 2 slip x supply around both.
 */
export class MotorSource implements Source {
  readonly #pull: number;
  readonly #fieldPull: number;
  readonly #bars: number;
  readonly #direction: readonly number[];

  constructor(machine: Machine) {
    const individual = new Random(machine.seed, 'motor');
    this.#pull = machine.floorG * individual.uniform(18, 25);
    this.#fieldPull = machine.floorG * individual.uniform(8, 13);
    this.#bars = velocityToG(9 * individual.uniform(0.8, 1.25), machine.ratedRpm / 60);
    this.#direction = [individual.uniform(0.7, 1), individual.uniform(0.5, 0.9), individual.uniform(0.05, 0.2)];
  }

  addTo(force: Force, operation: Operation, severity: PerCondition): void {
    const { mains, supply, polePass, halfShaft } = operation;
    const [horizontal, vertical, axial] = force;
    const [h, v, a] = this.#direction;
    const pull = this.#pull * severity.electrical_supply;
    const broken = severity.electrical_rotor_bar * Math.min(1, operation.load / 0.5);
    const bars = this.#bars * broken;
    const field = this.#fieldPull * broken;
    for (let i = 0; i < BLOCK; i++) {
      const twiceMains = 2 * mains.cos[i] * mains.cos[i] - 1;
      const steady = pull * (twiceMains + 0.15 * (2 * twiceMains * twiceMains - 1));
      const slow = polePass.cos[i];
      const swell = slow + 0.35 * (2 * slow * slow - 1); // first and second pair of sidebands
      const twiceSupply = 2 * supply.cos[i] * supply.cos[i] - 1;
      const electric = steady + field * (0.3 + swell) * twiceSupply;
      horizontal[i] += h * electric + bars * swell * (1 - 2 * halfShaft.sin[i] * halfShaft.sin[i]);
      vertical[i] += v * electric + 0.8 * bars * swell * 2 * halfShaft.sin[i] * halfShaft.cos[i];
      axial[i] += a * electric;
    }
  }
}
