/** Windows as devices send them. They outlive a change of the model, and weigh less than what a front end makes of them. */
export interface RawWindows {
  readonly count: number;
  /** [count, window, channels] */
  readonly codes: Int16Array;
  /** Physical units a code, [count, channels] */
  readonly scales: Float32Array;
}

/** Where a window lies in its stream. */
export interface WindowPlace {
  readonly epoch: number;
  readonly endSequence: number;
}

/** One window and its place; its arrays are its own. */
export interface PlacedWindow extends WindowPlace {
  /** [window, channels] */
  readonly codes: Int16Array;
  /** [channels] */
  readonly scales: Float32Array;
}

export function joinWindows(windows: readonly Pick<PlacedWindow, 'codes' | 'scales'>[]): RawWindows {
  const [size, channels] = [windows[0]?.codes.length ?? 0, windows[0]?.scales.length ?? 0];
  const codes = new Int16Array(windows.length * size);
  const scales = new Float32Array(windows.length * channels);
  windows.forEach((window, row) => {
    codes.set(window.codes, row * size);
    scales.set(window.scales, row * channels);
  });
  return { count: windows.length, codes, scales };
}

export function takeWindows({ count, codes, scales }: RawWindows, rows: readonly number[]): RawWindows {
  const [size, channels] = count === 0 ? [0, 0] : [codes.length / count, scales.length / count];
  return joinWindows(
    rows.map((row) => ({
      codes: codes.subarray(row * size, (row + 1) * size),
      scales: scales.subarray(row * channels, (row + 1) * channels),
    })),
  );
}
