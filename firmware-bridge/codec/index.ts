/** The wire format between devices and the gateway, without I/O. See ../README.md. */
export * from './clock.ts';
export * from './cobs.ts';
export * from './crc32c.ts';
export * from './decode.ts';
export * from './encode.ts';
export * from './frame.ts';
export * from './frame-reader.ts';
export * from './sequence.ts';
