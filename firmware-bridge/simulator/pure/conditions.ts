/**
 * The twelve conditions that the simulator knows, the healthy one first.
 *
 * The order is the class index. simulator/README.md has the physics of each in one table.
 */
export const CONDITIONS = [
  'normal',
  'imbalance',
  'misalignment',
  'looseness',
  'rub',
  'bearing_outer',
  'bearing_inner',
  'bearing_ball',
  'gear_wear',
  'electrical_rotor_bar',
  'electrical_supply',
  'sensor_fault',
] as const;

export type Condition = (typeof CONDITIONS)[number];

/** A number for every condition. */
export type PerCondition = Readonly<Record<Condition, number>>;

/**
 * How far every fault has grown, 0 to 1, on its way to where it was sent.
 *
 * A healthy machine is not perfect: each fault rests at the machine's `residual`. A fault of severity s lies at residual + (1 - residual) s.
 */
export class Severities {
  readonly #residual: PerCondition;
  readonly #target: Record<Condition, number>;
  readonly #now: Record<Condition, number>;
  #remainingSeconds = 0;

  constructor(residual: PerCondition, condition: Condition, severity: number) {
    this.#residual = residual;
    this.#target = { ...residual };
    this.#now = { ...residual };
    this.set(condition, severity, 0);
    this.advance(0);
  }

  /** Sends `condition` to `severity` and every other fault back to its residual, all in a straight line over `onsetSeconds`. */
  set(condition: Condition, severity: number, onsetSeconds: number): void {
    if (!CONDITIONS.includes(condition)) throw new RangeError(`condition: '${condition}' is none of ${CONDITIONS.join(', ')}`);
    if (!(severity >= 0 && severity <= 1)) throw new RangeError(`severity: ${severity} is not within 0 to 1`);
    if (!(onsetSeconds >= 0)) throw new RangeError(`onsetSeconds: ${onsetSeconds} is not 0 or more`);
    for (const name of CONDITIONS) this.#target[name] = this.#residual[name];
    if (condition !== 'normal') this.#target[condition] += (1 - this.#residual[condition]) * severity;
    this.#remainingSeconds = onsetSeconds;
  }

  advance(seconds: number): void {
    const share = this.#remainingSeconds > seconds ? seconds / this.#remainingSeconds : 1;
    this.#remainingSeconds = Math.max(0, this.#remainingSeconds - seconds);
    for (const name of CONDITIONS) this.#now[name] += (this.#target[name] - this.#now[name]) * share;
  }

  get now(): PerCondition {
    return this.#now;
  }
}
