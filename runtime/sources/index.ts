/** Sensors that do not speak Tremolo frames: JSON, CSV and raw numbers, without I/O. */
export * from './foreign-block.ts';
export * from './foreign-decoder.ts';
export * from './foreign-format.ts';
export * from './foreign-stream.ts';
export * from './signal-watch.ts';
