/** The only room that opens a serial port. */
export * from './pty.ts';
export * from './serial.ts';
