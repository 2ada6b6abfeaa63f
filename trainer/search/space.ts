import { Refusal } from '../refusal.ts';

/** A choice as it is written to the journal: anything that JSON gives back unchanged. */
export type Choice = string | number | boolean | null;

export interface Uniform {
  readonly kind: 'uniform';
  readonly low: number;
  readonly high: number;
}

export interface LogUniform {
  readonly kind: 'logUniform';
  readonly low: number;
  readonly high: number;
}

export interface Integer {
  readonly kind: 'integer';
  readonly low: number;
  /** The last value that a whole number of steps from `low` reaches. */
  readonly high: number;
  readonly step: number;
}

export interface Categorical<C extends Choice = Choice> {
  readonly kind: 'categorical';
  readonly choices: readonly C[];
}

export type Parameter = Uniform | LogUniform | Integer | Categorical;

/** The parameters by name; the order of the names is the order of the unit coordinates. */
export type Space = Readonly<Record<string, Parameter>>;

/** A point of a space: a choice for every categorical parameter, a number for every other. */
export type SettingsOf<S extends Space> = { readonly [Name in keyof S]: S[Name] extends Categorical<infer C> ? C : number };

function refuse(complaint: string): never {
  throw new Refusal('search/space', complaint);
}

/** Every value from `low` to `high` as likely as every other. @throws Refusal search/space */
export function uniform(low: number, high: number): Uniform {
  if (!Number.isFinite(high - low) || low >= high) refuse(`uniform(${low}, ${high}) is no range; give finite low < high`);
  return { kind: 'uniform', low, high };
}

/** Every order of magnitude from `low` to `high` as likely as every other: learning rates, decays. @throws Refusal search/space */
export function logUniform(low: number, high: number): LogUniform {
  if (!(low > 0) || !Number.isFinite(high) || low >= high)
    refuse(`logUniform(${low}, ${high}) is no range; give 0 < low < high; zero has no order of magnitude`);
  return { kind: 'logUniform', low, high };
}

/** The whole numbers low, low + step, ... up to `high`. @throws Refusal search/space */
export function integer(low: number, high: number, step = 1): Integer {
  if (![low, high, step].every(Number.isSafeInteger) || step < 1 || low > high)
    refuse(`integer(${low}, ${high}, ${step}) is no range; give whole low <= high and a step of 1 or more`);
  return { kind: 'integer', low, high: low + Math.floor((high - low) / step) * step, step };
}

/** One of several, without an order between them. @throws Refusal search/space */
export function categorical<const C extends readonly Choice[]>(...choices: C): Categorical<C[number]> {
  if (choices.length === 0) refuse('categorical() has no choices; give one or more');
  if (new Set(choices).size < choices.length) refuse(`categorical(${choices}) names a choice twice`);
  if (choices.some((choice) => typeof choice === 'number' && !Number.isFinite(choice)))
    refuse(`categorical(${choices}) has a number that JSON cannot write; name it with a string`);
  return { kind: 'categorical', choices };
}

/** How many values a parameter has: Infinity for a continuous one. */
export function levelsOf(parameter: Parameter): number {
  if (parameter.kind === 'categorical') return parameter.choices.length;
  if (parameter.kind === 'integer') return (parameter.high - parameter.low) / parameter.step + 1;
  return Number.POSITIVE_INFINITY;
}

/** The level of a unit coordinate, 0 to levels - 1: each has an equal share of [0, 1]. */
export function levelAt(unit: number, levels: number): number {
  return Math.min(levels - 1, Math.max(0, Math.floor(unit * levels)));
}

/** The unit coordinate in the middle of a level's share. */
export function levelCentre(level: number, levels: number): number {
  return (level + 0.5) / levels;
}

/**
 * A value as a coordinate in [0, 1]: linear for uniform, linear in the logarithm for log-uniform, the middle of its level for the discrete ones.
 *
 * Is wrong when a categorical parameter's coordinate is read as a distance: neighbouring choices are no nearer than others.
 *
 * @returns undefined for a value that the parameter does not have
 * @example toUnit(logUniform(1e-4, 1e-2), 1e-3) // 0.5
 */
export function toUnit(parameter: Parameter, value: Choice): number | undefined {
  if (parameter.kind === 'categorical') {
    const level = parameter.choices.indexOf(value);
    return level < 0 ? undefined : levelCentre(level, parameter.choices.length);
  }
  if (typeof value !== 'number' || !(value >= parameter.low && value <= parameter.high)) return undefined;
  const { low, high } = parameter;
  if (parameter.kind === 'uniform') return (value - low) / (high - low);
  if (parameter.kind === 'logUniform') return Math.log(value / low) / Math.log(high / low);
  const level = (value - low) / parameter.step;
  return Number.isInteger(level) ? levelCentre(level, levelsOf(parameter)) : undefined;
}

/**
 * The value at a coordinate in [0, 1], the inverse of `toUnit` (of every coordinate within a level's share for the discrete ones).
 *
 * @example fromUnit(integer(2, 8, 2), 0.3) // 4
 */
export function fromUnit(parameter: Parameter, unit: number): Choice {
  if (parameter.kind === 'categorical') return parameter.choices[levelAt(unit, parameter.choices.length)];
  const { low, high } = parameter;
  if (parameter.kind === 'integer') return low + parameter.step * levelAt(unit, levelsOf(parameter));
  // Rounding must not lead out of the range, nor off its ends.
  if (unit <= 0) return low;
  if (unit >= 1) return high;
  const value = parameter.kind === 'uniform' ? low + unit * (high - low) : low * (high / low) ** unit;
  return Math.min(high, Math.max(low, value));
}

/** The unit coordinates of settings, in the order of the space's names. @throws Refusal search/space where they are no point of it */
export function unitsOf(space: Space, settings: Readonly<Record<string, Choice>>): number[] {
  const strange = Object.keys(settings).find((name) => !Object.hasOwn(space, name));
  if (strange !== undefined) refuse(`the space has no parameter ${strange}`);
  return Object.entries(space).map(([name, parameter]) => {
    const unit = Object.hasOwn(settings, name) ? toUnit(parameter, settings[name]) : undefined;
    return unit ?? refuse(`${name} = ${JSON.stringify(settings[name])} is no value of its ${parameter.kind} parameter`);
  });
}

/** The settings at unit coordinates. */
export function settingsAt<S extends Space>(space: S, units: readonly number[]): SettingsOf<S> {
  return Object.fromEntries(
    Object.entries(space).map(([name, parameter], index) => [name, fromUnit(parameter, units[index])]),
  ) as SettingsOf<S>;
}
