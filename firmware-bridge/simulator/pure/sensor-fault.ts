import { BLOCK, BLOCK_SECONDS, SAMPLE_RATE_HZ, Wander } from './operation.ts';
import type { Random } from './random.ts';
import type { Force } from './source.ts';

/**
 * How a sensor fails.
 *
 * - `bias`: the amplifier's working point is off and drifts (the "ski slope" of a wet connector or a bad cable).
 * - `dropout`: the line breaks for 20 to 100 ms at a time and reads zero.
 * - `clip`: the amplifier saturates within the signal's range.
 * - `stuck`: the converter repeats a value for 40 to 200 ms at a time.
 * - `spikes`: single samples jump (a loose contact, a relay next to the cable).
 */
export const SENSOR_FAULTS = ['bias', 'dropout', 'clip', 'stuck', 'spikes'] as const;
export type SensorFaultKind = (typeof SENSOR_FAULTS)[number];

/** A channel's own spread is measured over this time, so that a fault is as large on a quiet machine as on a loud one. */
const SPREAD_SECONDS = 0.5;

/** Two states that alternate: well and gone, with random lengths in samples. */
class Interruption {
  gone = false;
  readonly #random: Random;
  #samples = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** `share`: part of the time that is lost. No interval is longer than five times another, so that hardly any half second stays without. */
  step(share: number, shortest: number, longest: number): boolean {
    if (--this.#samples <= 0) {
      this.gone = !this.gone;
      const lost = this.#random.uniform(shortest, longest) * SAMPLE_RATE_HZ;
      this.#samples = Math.ceil(this.gone ? lost : (lost * (1 - share)) / share);
    }
    return this.gone;
  }
}

interface Channel {
  readonly affected: boolean;
  readonly drift: Wander;
  readonly sign: number;
  meanSquare: number;
  held: number;
}

/** One sensor's defect. The kind and the channels it reaches are the recording's; a severity of 0 leaves the signal untouched. */
export class SensorFault {
  readonly kind: SensorFaultKind;
  readonly #random: Random;
  readonly #interruption: Interruption;
  readonly #channels: readonly Channel[];
  /** Whether each sample of the block is lost, for all affected channels at once. */
  readonly #lost: boolean[] = Array.from({ length: BLOCK }, () => false);

  constructor(random: Random, kind: SensorFaultKind = random.pick(SENSOR_FAULTS)) {
    this.kind = kind;
    this.#random = random;
    this.#interruption = new Interruption(random);
    const certain = random.pick([0, 1, 2]);
    this.#channels = [0, 1, 2].map((channel) => ({
      affected: channel === certain || random.uniform() < 0.6,
      drift: new Wander(random, 1, 0.7),
      sign: random.pick([-1, 1]),
      meanSquare: 0,
      held: 0,
    }));
  }

  apply(channels: Force, severity: number): void {
    const interrupts = this.kind === 'dropout' || this.kind === 'stuck';
    if (severity > 0 && interrupts) {
      const longest = this.kind === 'stuck' ? 0.2 : 0.1;
      for (let i = 0; i < BLOCK; i++) this.#lost[i] = this.#interruption.step(0.15 + 0.5 * severity, longest / 5, longest);
    }
    this.#channels.forEach((channel, index) => {
      const samples = channels[index];
      // A leaky mean, seeded by the first block.
      const keep = channel.meanSquare === 0 ? 0 : 1 - BLOCK_SECONDS / SPREAD_SECONDS;
      let sum = 0;
      for (let i = 0; i < BLOCK; i++) sum += samples[i] * samples[i];
      channel.meanSquare = keep * channel.meanSquare + ((1 - keep) * sum) / BLOCK;
      if (severity > 0 && channel.affected) this.#spoil(channel, samples, Math.sqrt(channel.meanSquare), severity);
    });
  }

  #spoil(channel: Channel, samples: Float64Array, spread: number, severity: number): void {
    switch (this.kind) {
      case 'bias': {
        const from = channel.drift.value;
        const to = channel.drift.advance();
        const drift = (1 + 4 * severity) * spread;
        const offset = (2 + 6 * severity) * spread * channel.sign;
        for (let i = 0; i < BLOCK; i++) samples[i] += offset + drift * (from + ((to - from) * i) / BLOCK);
        return;
      }
      case 'clip': {
        const limit = (1.3 - 0.9 * severity) * spread;
        for (let i = 0; i < BLOCK; i++) samples[i] = Math.min(limit, Math.max(-limit, samples[i]));
        return;
      }
      case 'dropout':
        for (let i = 0; i < BLOCK; i++) if (this.#lost[i]) samples[i] = 0;
        return;
      case 'stuck':
        for (let i = 0; i < BLOCK; i++) {
          if (this.#lost[i]) samples[i] = channel.held;
          else channel.held = samples[i];
        }
        return;
      case 'spikes': {
        const perSample = (8 + 20 * severity) / SAMPLE_RATE_HZ;
        for (let i = 0; i < BLOCK; i++) {
          if (this.#random.uniform() >= perSample) continue;
          samples[i] += (4 + 8 * severity) * spread * this.#random.uniform(0.6, 1.4) * this.#random.pick([-1, 1]);
        }
        return;
      }
    }
  }
}
