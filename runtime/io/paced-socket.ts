import { connect, type Socket } from 'node:net';

/** Read at once at the most; a thousand streams fill half of it in a pause. */
const READ_BYTES = 1 << 16;
/** What comes in this time is read at once where much comes, milliseconds: half of it is what a window then waits in the mean. */
const PAUSE_MS = 3;
/** What is there so soon after the last read, or after a pause, is much: most of a read's price is being woken for it. */
const CLOSE_MS = PAUSE_MS / 2;

/**
 * A TCP connection that is read in larger pieces when much comes. A broker writes each message by itself, and a gateway of fifty streams would
 * spend more on being woken than on the samples; so when reads come thick and fast it lets some milliseconds' worth gather in the system's buffer.
 *
 * @param onBytes of memory that is used again for the next
 */
export function connectPaced(
  { host, hostname = host, port }: { readonly host?: string; readonly hostname?: string; readonly port?: number },
  onBytes: (bytes: Buffer) => void,
): Socket {
  /** When bytes could be read, and were not there yet. */
  let openMs = Number.NEGATIVE_INFINITY;
  const socket = connect({
    host: hostname ?? 'localhost',
    port: port ?? 1883,
    onread: {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback(count, buffer) {
        const nowMs = performance.now();
        const close = nowMs - openMs < CLOSE_MS;
        openMs = nowMs;
        onBytes((buffer as Buffer).subarray(0, count));
        if (close) setTimeout(goOn, PAUSE_MS);
        return !close;
      },
    },
  });
  const goOn = () => {
    openMs = performance.now();
    // Whoever paused it meanwhile says himself when he takes more.
    if (!socket.isPaused()) socket.resume();
  };
  return socket;
}
