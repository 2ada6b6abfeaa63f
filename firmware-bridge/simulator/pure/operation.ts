import type { Machine } from './machine.ts';
import { Random } from './random.ts';

/** Everything is computed in blocks of 16 samples: load and speed are constant within one, phases are not. */
export const BLOCK = 16;
export const SAMPLE_RATE_HZ = 1000;
export const BLOCK_SECONDS = BLOCK / SAMPLE_RATE_HZ;

const TURN = 2 * Math.PI;

/** How a machine is driven. Times in seconds, loads as a share of full load. */
export interface OperationProfile {
  /** Load about which the process wanders. */
  readonly meanLoad: number;
  /** Standard deviation of the random walk about the present set point, to which it returns within some five seconds. */
  readonly loadWander: number;
  /** Mean time between two changes of the set points of load and, on an inverter, of speed. Infinity for none. */
  readonly secondsBetweenSteps: number;
  /** Largest distance of a load set point from `meanLoad`. */
  readonly loadStep: number;
  /** Largest distance of an inverter's speed set point from nominal, as a share. */
  readonly speedStep: number;
  /** Both set points are approached in ramps of this much per second. */
  readonly rampPerSecond: number;
}

export const DEFAULT_PROFILE: OperationProfile = {
  meanLoad: 0.75,
  loadWander: 0.03,
  secondsBetweenSteps: 20,
  loadStep: 0.12,
  speedStep: 0.04,
  rampPerSecond: 0.05,
};

const towards = (from: number, to: number, step: number): number => (from < to ? Math.min(to, from + step) : Math.max(to, from - step));

/** Ornstein-Uhlenbeck: a random walk that is pulled back to zero within `seconds`, with the given standard deviation. */
export class Wander {
  value: number;
  readonly #random: Random;
  readonly #keep: number;
  readonly #kick: number;

  constructor(random: Random, deviation: number, seconds: number) {
    this.#random = random;
    this.#keep = Math.exp(-BLOCK_SECONDS / seconds);
    this.#kick = deviation * Math.sqrt(1 - this.#keep * this.#keep);
    this.value = deviation * random.gaussian();
  }

  advance(): number {
    this.value = this.value * this.#keep + this.#kick * this.#random.gaussian();
    return this.value;
  }
}

/** A rotating phase, sampled through a block without drift: the angle is exact at each block's start. */
export class Oscillator {
  /** Turns, modulo 1, at every sample of the block. */
  readonly turns = new Float64Array(BLOCK);
  readonly cos = new Float64Array(BLOCK);
  readonly sin = new Float64Array(BLOCK);
  #turns: number;

  constructor(startTurns: number) {
    this.#turns = startTurns;
  }

  advance(turnsPerSample: number): void {
    const { turns, cos, sin } = this;
    let at = this.#turns;
    let c = Math.cos(TURN * at);
    let s = Math.sin(TURN * at);
    const stepCos = Math.cos(TURN * turnsPerSample);
    const stepSin = Math.sin(TURN * turnsPerSample);
    for (let i = 0; i < BLOCK; i++) {
      turns[i] = at;
      cos[i] = c;
      sin[i] = s;
      at += turnsPerSample;
      if (at >= 1) at--;
      const next = c * stepCos - s * stepSin;
      s = s * stepCos + c * stepSin;
      c = next;
    }
    this.#turns = at;
  }
}

/** The machine in motion: load, speed and the angles that all its forces follow, a block at a time. */
export class Operation {
  /** Share of full load. */
  load: number;
  shaftHz: number;
  /** Turns once while the shaft turns twice, since loose and rubbing rotors repeat every other turn. */
  readonly halfShaft: Oscillator;
  readonly mains: Oscillator;
  /** At the motor's terminals: the mains, or the inverter's output. */
  readonly supply: Oscillator;
  /** Broken rotor bars pass the poles at 2 slip x supply. */
  readonly polePass: Oscillator;

  readonly #machine: Machine;
  readonly #profile: OperationProfile;
  readonly #random: Random;
  readonly #loadWander: Wander;
  readonly #mainsWander: Wander;
  readonly #nominalSupplyHz: number;
  #loadTarget: number;
  #loadSetPoint: number;
  #speedTarget: number;
  #speedSetPoint: number;
  #secondsToStep: number;

  constructor(machine: Machine, profile: OperationProfile, seed: number) {
    this.#machine = machine;
    this.#profile = profile;
    const random = new Random(seed, 'operation');
    this.#random = random;
    this.#loadWander = new Wander(random, profile.loadWander, 5);
    this.#mainsWander = new Wander(random, 0.02, 10); // Hz; grids keep within some tens of millihertz
    this.#nominalSupplyHz =
      machine.drive === 'line' ? machine.lineFrequencyHz : (machine.nominalRpm * machine.polePairs) / 60 / (1 - machine.ratedSlip);
    this.#loadTarget = this.#loadSetPoint = this.load = profile.meanLoad;
    this.#speedTarget = this.#speedSetPoint = 1 + random.uniform(-profile.speedStep, profile.speedStep);
    this.#secondsToStep = random.exponential(profile.secondsBetweenSteps);
    this.shaftHz = machine.nominalRpm / 60;
    this.halfShaft = new Oscillator(random.uniform());
    this.mains = new Oscillator(random.uniform());
    this.supply = new Oscillator(random.uniform());
    this.polePass = new Oscillator(random.uniform());
  }

  /** `torquePulsation`: share of the slip by which broken bars make the speed swing at the pole-pass rate. */
  advance(torquePulsation: number): void {
    const machine = this.#machine;
    const profile = this.#profile;
    this.#secondsToStep -= BLOCK_SECONDS;
    if (this.#secondsToStep <= 0) {
      this.#secondsToStep = this.#random.exponential(profile.secondsBetweenSteps);
      this.#loadTarget = profile.meanLoad + this.#random.uniform(-profile.loadStep, profile.loadStep);
      this.#speedTarget = 1 + this.#random.uniform(-profile.speedStep, profile.speedStep);
    }
    const ramp = profile.rampPerSecond * BLOCK_SECONDS;
    this.#loadSetPoint = towards(this.#loadSetPoint, this.#loadTarget, ramp);
    this.#speedSetPoint = towards(this.#speedSetPoint, this.#speedTarget, ramp);
    this.load = Math.min(1.2, Math.max(0, this.#loadSetPoint + this.#loadWander.advance()));

    const mainsHz = machine.lineFrequencyHz + this.#mainsWander.advance();
    const supplyHz = machine.drive === 'line' ? mainsHz : this.#nominalSupplyHz * this.#speedSetPoint;
    const slip = machine.ratedSlip * this.load;
    const swing = 1 + torquePulsation * slip * this.polePass.cos[0];
    this.shaftHz = (supplyHz / machine.polePairs) * (1 - slip) * swing;

    this.halfShaft.advance(this.shaftHz / 2 / SAMPLE_RATE_HZ);
    this.mains.advance(mainsHz / SAMPLE_RATE_HZ);
    this.supply.advance(supplyHz / SAMPLE_RATE_HZ);
    this.polePass.advance((2 * slip * supplyHz) / SAMPLE_RATE_HZ);
  }
}
