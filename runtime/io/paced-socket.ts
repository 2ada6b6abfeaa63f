import { connect, type Socket } from 'node:net';

/** Read at once at the most; a thousand streams fill a quarter of it in the longest pause. */
const READ_BYTES = 1 << 16;
/** Reads that follow each other more closely than this are too many: each costs more than the packet that it brings, milliseconds. */
const CLOSE_MS = 0.1;
/** What comes in this time is then read at once. */
const PAUSE_MS = 2;

/**
 * A TCP connection that is read in larger pieces when much comes. A broker writes each message by itself, and a gateway of a thousand streams would
 * spend more on being woken than on the samples; so when reads come thick and fast it lets some milliseconds' worth gather in the system's buffer.
 *
 * @param onBytes of memory that is used again for the next
 */
export function connectPaced(
  { host, hostname = host, port }: { readonly host?: string; readonly hostname?: string; readonly port?: number },
  onBytes: (bytes: Buffer) => void,
): Socket {
  let lastMs = Number.NEGATIVE_INFINITY;
  const socket = connect({
    host: hostname ?? 'localhost',
    port: port ?? 1883,
    onread: {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback(count, buffer) {
        const nowMs = performance.now();
        const close = nowMs - lastMs < CLOSE_MS;
        lastMs = nowMs;
        onBytes((buffer as Buffer).subarray(0, count));
        if (close)
          setTimeout(() => {
            // Whoever paused it meanwhile says himself when he takes more.
            if (!socket.isPaused()) socket.resume();
          }, PAUSE_MS);
        return !close;
      },
    },
  });
  return socket;
}
