import { SerialPort } from 'serialport';

/**
 * A USB device by what it reports, so that it is found again on whichever port it comes back: the first that has all that is given. Vendor and
 * product hexadecimal without 0x, in any case.
 */
export interface UsbId {
  readonly vendorId?: string;
  readonly productId?: string;
  /** Where several devices of one kind are plugged in. Manufacturers are supposed to give each another, and some do not. */
  readonly serialNumber?: string;
}

interface LineOptions {
  /** Bits per second. USB devices ignore it, a pty too. */
  readonly baudRate: number;
  /** Wait before the first try to open the port again, in milliseconds (250). Doubles with each failure. */
  readonly firstRetryMs?: number;
  /** Longest wait between two tries, in milliseconds (10,000). */
  readonly longestRetryMs?: number;
}

/** A port by its path (`/dev/ttyUSB0`, `/dev/serial/by-id/…`, `COM3`, a pty), or a USB device. */
export type SerialOptions = LineOptions & ({ readonly path: string } | { readonly usb: UsbId });

export type SerialState = 'open' | 'retrying' | 'closed';

export interface SerialStateDetail {
  /** The port that was opened or lost; undefined where no USB device was found. */
  readonly path: string | undefined;
  /** Why the port is not open; absent for 'open' and after `close()`. */
  readonly error?: Error;
  /** With 'retrying': time to the next try, in milliseconds. */
  readonly retryInMs?: number;
}

export interface SerialLink {
  readonly state: SerialState;
  /**
   * Sends bytes to the device. False where the port is not open: nothing waits for a device that is not there, since a command that comes
   * hours late does harm. A failure while sending shows as a change of state.
   */
  write(bytes: Uint8Array): boolean;
  /** Closes the port and stops trying. Resolves when the port is free for others. May be called again. */
  close(): Promise<void>;
}

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 10_000;

/**
 * Keeps a serial port open, 8 data bits, no parity, 1 stop bit, no flow control. When it cannot be opened or vanishes, it is tried again
 * after waits that double up to a limit, each shortened by up to a half at random so that many ports of one hub do not come at once. The wait
 * starts small again when bytes have arrived.
 *
 * `onBytes` gets what arrives, cut anywhere; the bytes are its to keep. After each 'open' they begin anew: call `FrameReader.reset`.
 * `onState` gets 'open' and 'retrying' in turns (several 'retrying' in a row while the device stays away) and 'closed' once, last.
 *
 * Throws a RangeError on a baud rate that is not a positive integer. All that happens to the port comes through `onState`.
 */
export function openSerial(
  options: SerialOptions,
  onBytes: (bytes: Uint8Array) => void,
  onState: (state: SerialState, detail: SerialStateDetail) => void,
): SerialLink {
  const { baudRate, firstRetryMs = FIRST_RETRY_MS, longestRetryMs = LONGEST_RETRY_MS } = options;
  if (!Number.isInteger(baudRate) || baudRate <= 0) throw new RangeError(`baudRate cannot be ${baudRate}`);

  let state: SerialState = 'retrying';
  let port: SerialPort | undefined;
  let timer: NodeJS.Timeout | undefined;
  let failures = 0;
  let closing: Promise<void> | undefined;

  function retry(path: string | undefined, error: Error): void {
    port = undefined;
    if (closing) return;
    const longest = Math.min(longestRetryMs, firstRetryMs * 2 ** failures++);
    const retryInMs = Math.round(longest * (1 - Math.random() / 2));
    state = 'retrying';
    timer = setTimeout(() => {
      attempt = tryOpen();
    }, retryInMs);
    onState(state, { path, error, retryInMs });
  }

  async function tryOpen(): Promise<void> {
    let path: string | undefined;
    let opened: SerialPort;
    try {
      path = 'path' in options ? options.path : await findUsb(options.usb);
      opened = await openPort(path, baudRate);
    } catch (error) {
      retry(path, error as Error);
      return;
    }
    port = opened;
    if (closing) return;
    opened.on('data', (bytes: Uint8Array) => {
      if (closing) return;
      failures = 0;
      onBytes(bytes);
    });
    // Of a write that failed. Where the port is gone as well, it is closed already.
    opened.on('error', (error: Error) => {
      if (opened.isOpen) opened.close(undefined, error);
    });
    // After a failed write the stream says so twice: as the port and as a stream.
    opened.on('close', (cause: Error | null) => {
      if (port === opened) retry(path, new Error(`serial port ${path} was lost`, { cause }));
    });
    state = 'open';
    onState(state, { path });
  }

  let attempt = tryOpen();

  return {
    get state() {
      return state;
    },
    write(bytes) {
      if (state !== 'open' || closing || port === undefined) return false;
      port.write(bytes);
      return true;
    },
    close() {
      closing ??= (async () => {
        clearTimeout(timer);
        // A port that opened behind our back would stay open.
        await attempt;
        const last = port;
        if (last?.isOpen) await new Promise<void>((resolve) => last.close(() => resolve()));
        state = 'closed';
        onState(state, { path: last?.path });
      })();
      return closing;
    },
  };
}

function openPort(path: string, baudRate: number): Promise<SerialPort> {
  return new Promise((resolve, reject) => {
    const port = new SerialPort({ path, baudRate, autoOpen: false });
    port.open((error) => (error ? reject(error) : resolve(port)));
  });
}

/** What the operating system says of a port. */
export interface PortInfo {
  readonly path: string;
  readonly vendorId?: string;
  readonly productId?: string;
  readonly serialNumber?: string;
}

/** The first port that belongs to such a device. Nothing asked for is found nowhere. */
export function matchUsb(ports: readonly PortInfo[], usb: UsbId): PortInfo | undefined {
  const { vendorId, productId, serialNumber } = usb;
  if (vendorId === undefined && productId === undefined && serialNumber === undefined) return undefined;
  const fits = (a: string | undefined, b: string | undefined) => b === undefined || a?.toLowerCase() === b.toLowerCase();
  return ports.find(
    (port) =>
      fits(port.vendorId, vendorId) &&
      fits(port.productId, productId) &&
      (serialNumber === undefined || port.serialNumber === serialNumber),
  );
}

async function findUsb(usb: UsbId): Promise<string> {
  const found = matchUsb(await SerialPort.list(), usb);
  if (found) return found.path;
  const kind = usb.vendorId === undefined ? '' : ` ${usb.vendorId}:${usb.productId}`;
  const which = usb.serialNumber === undefined ? '' : ` serial number ${usb.serialNumber}`;
  throw new Error(`no USB device${kind}${which} is plugged in`);
}
