const NO_VALUE = '–';
const NARROW_SPACE = '\u202f';
const SPACE = '\u00a0';

export const isNumber = (value: number | null | undefined): value is number => typeof value === 'number' && Number.isFinite(value);

/** 0.9841 -> `98.4 %`. What is not all never reads as 100.0 %, and what is not nothing never as 0.0 %. */
export function percent(share: number | null | undefined): string {
  if (!isNumber(share)) return NO_VALUE;
  const text = (100 * share).toFixed(1);
  if (text === '100.0' && share < 1) return `${(Math.floor(Math.max(0.9995, share) * 1e4) / 100).toFixed(2)}${SPACE}%`;
  if (text === '0.0' && share > 0) return `<${SPACE}0.1${SPACE}%`;
  return `${text}${SPACE}%`;
}

/** Distance of two shares without a sign: 0.021 -> `2.1 points`. */
export function points(distance: number): string {
  const text = (100 * Math.abs(distance)).toFixed(Math.abs(distance) < 9.5e-4 && distance !== 0 ? 2 : 1);
  return `${text}${SPACE}${text === '1.0' ? 'point' : 'points'}`;
}

/** With a sign, for tables: `+2.1`. */
export function signedPoints(distance: number): string {
  if (!isNumber(distance)) return NO_VALUE;
  const text = (100 * Math.abs(distance)).toFixed(1);
  return text === '0.0' ? '±0.0' : `${distance < 0 ? '−' : '+'}${text}`;
}

/** 5812 -> `5 812` */
export function count(value: number | undefined): string {
  return isNumber(value) ? String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, NARROW_SPACE) : NO_VALUE;
}

const threeDigits = (value: number) => (value >= 99.95 ? count(value) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2));

/** 1312044 -> `1.31 M` */
export function parameters(value: number | undefined): string {
  if (!isNumber(value)) return NO_VALUE;
  if (value >= 999_500) return `${threeDigits(value / 1e6)}${SPACE}M`;
  return value >= 1000 ? `${threeDigits(value / 1e3)}${SPACE}k` : count(value);
}

/** Powers of ten: 187432 -> `187 kB` */
export function bytes(value: number | undefined): string {
  if (!isNumber(value)) return NO_VALUE;
  if (value >= 999_500) return `${threeDigits(value / 1e6)}${SPACE}MB`;
  return value >= 1000 ? `${threeDigits(value / 1e3)}${SPACE}kB` : `${count(value)}${SPACE}B`;
}

export function milliseconds(value: number | undefined): string {
  if (!isNumber(value)) return NO_VALUE;
  return value < 0.1 ? `${count(1000 * value)}${SPACE}µs` : `${threeDigits(value)}${SPACE}ms`;
}

export function duration(seconds: number | undefined): string {
  if (!isNumber(seconds)) return NO_VALUE;
  if (seconds < 10) return `${seconds.toFixed(1)}${SPACE}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}${SPACE}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}${SPACE}min ${whole % 60}${SPACE}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}${SPACE}h ${minutes % 60}${SPACE}min`;
}

/** 26.31 -> `26`, 1.84 -> `1.8`: how many times a value is another. */
export const times = (ratio: number) => (ratio >= 9.95 ? count(ratio) : ratio.toFixed(1).replace('.0', ''));

const BASELINES: Readonly<Record<string, string>> = {
  ridge: 'ridge on the log spectrum',
  forest: 'random forest',
  minirocket: 'MiniRocket',
};

/** Name for people of a baseline's key. */
export const baselineName = (key: string) => (Object.hasOwn(BASELINES, key) ? BASELINES[key] : key);

export const capitalised = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** What a side of a split is made of, where the row already says which side it is. */
export function sideWords(description: string | undefined): string | undefined {
  return description?.replace(/^(test|validation) /, '');
}
