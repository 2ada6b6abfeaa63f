/** The synthetic machine of firmware-bridge/c/firmware/signal.c, number for number. */
export const FIRMWARE_CHANNELS = 3;

const SHAFT_STEP = 107_374_182;
const QUARTER_TURN = 0x4000_0000;

function wave(phase: number): number {
  const x = (phase >>> 16) - 32_768;
  return Math.trunc((x * (32_768 - Math.abs(x))) / 32_768);
}

function noise(n: number): number {
  let hash = Math.imul(n, 2_654_435_761) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 15), 2_246_822_519);
  return (hash >>> 24) - 128;
}

/** The values of sample `index`, one a channel, in counts. */
export function firmwareSample(index: number): number[] {
  const turn = Math.imul(index, SHAFT_STEP);
  const mesh = Math.trunc(wave(Math.imul(turn, 12)) / 8);
  return [
    wave(turn) + mesh + noise(3 * index),
    wave((turn + QUARTER_TURN) | 0) + mesh + noise(3 * index + 1),
    Math.trunc(wave(turn * 2) / 2) + mesh + noise(3 * index + 2),
  ];
}

/** `count` samples from `first` on, `[count, FIRMWARE_CHANNELS]`, as a frame carries them. */
export function firmwareSamples(first: number, count: number): Int16Array {
  return Int16Array.from(Array.from({ length: count }, (_, i) => firmwareSample(first + i)).flat());
}
