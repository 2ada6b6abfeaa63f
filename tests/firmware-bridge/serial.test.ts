import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { encodeFrame, encodeSerialFrame, FrameReader, type SampleFrame } from '../../firmware-bridge/codec/index.ts';
import {
  openPty,
  openSerial,
  type Pty,
  type SerialLink,
  type SerialOptions,
  type SerialState,
  type SerialStateDetail,
} from '../../firmware-bridge/serial/index.ts';
import { toHex, vector } from './vectors/vectors.ts';

const baudRate = 115_200;
const quick = { baudRate, firstRetryMs: 20, longestRetryMs: 80 };
const samples = vector('two channels, three samples, with shaft speed').frame as SampleFrame;

/** Every byte value, in an order that no line discipline leaves alone. */
const allBytes = Uint8Array.from({ length: 50_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff);

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function pty(onBytes?: (bytes: Uint8Array) => void): Promise<Pty> {
  const made = await openPty(onBytes);
  open.push(made);
  return made;
}

function connect(options: SerialOptions) {
  const received: Uint8Array[] = [];
  const states: { state: SerialState; detail: SerialStateDetail }[] = [];
  const link: SerialLink = openSerial(
    options,
    (bytes) => received.push(bytes),
    (state, detail) => states.push({ state, detail }),
  );
  open.push(link);
  return {
    link,
    states,
    received,
    bytes: () => new Uint8Array(Buffer.concat(received)),
    reaches: (state: SerialState) => vi.waitFor(() => expect(link.state).toBe(state), { timeout: 10_000, interval: 5 }),
    receives: (count: number) =>
      vi.waitFor(() => expect(received.reduce((sum, { length }) => sum + length, 0)).toBe(count), { timeout: 20_000, interval: 5 }),
  };
}

describe('a serial port on a real pty', () => {
  it('carries all byte values towards the gateway unharmed', async () => {
    const line = await pty();
    const port = connect({ path: line.path, ...quick });
    await port.reaches('open');
    await line.write(allBytes);
    await port.receives(allBytes.length);
    expect(Buffer.compare(port.bytes(), allBytes)).toBe(0);
  });

  it('carries all byte values towards the device unharmed', async () => {
    const received: Uint8Array[] = [];
    const line = await pty((bytes) => received.push(bytes));
    const port = connect({ path: line.path, ...quick });
    await port.reaches('open');
    expect(port.link.write(allBytes)).toBe(true);
    await vi.waitFor(() => expect(Buffer.compare(Buffer.concat(received), allBytes)).toBe(0), { timeout: 20_000, interval: 20 });
  });

  it('carries frames', async () => {
    const line = await pty();
    const port = connect({ path: line.path, ...quick });
    await port.reaches('open');
    const frames = Array.from({ length: 200 }, (_, n) => ({ ...samples, sequence: n * samples.samplesPerChannel }));
    for (const frame of frames) await line.write(encodeSerialFrame(frame));
    const payloads: string[] = [];
    const reader = new FrameReader((_frame, payload) => payloads.push(toHex(payload)));
    await port.receives(frames.reduce((sum, frame) => sum + encodeSerialFrame(frame).length, 0));
    for (const bytes of port.received) reader.push(bytes);
    expect(payloads).toEqual(frames.map((frame) => toHex(encodeFrame(frame))));
    expect(reader.health.skippedBytes).toBe(0);
  });

  it('tells its path when it opens, and is closed once however often that is asked', async () => {
    const line = await pty();
    const port = connect({ path: line.path, ...quick });
    await port.reaches('open');
    await Promise.all([port.link.close(), port.link.close()]);
    await port.link.close();
    expect(port.states.map(({ state }) => state)).toEqual(['open', 'closed']);
    expect(port.states[0].detail).toEqual({ path: line.path });
    expect(port.link.write(Uint8Array.of(1))).toBe(false);
  });

  it('is free for another after it was closed', async () => {
    const line = await pty();
    const first = connect({ path: line.path, ...quick });
    await first.reaches('open');
    await first.link.close();
    const second = connect({ path: line.path, ...quick });
    await second.reaches('open');
    await line.write(Uint8Array.of(5, 0, 13));
    await second.receives(3);
    expect(first.received).toEqual([]);
  });
});

describe('a port that is not there', () => {
  // As udev's /dev/serial/by-id: a name that stays while the device behind it changes.
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'tremolo-serial-'));
    path = join(folder, 'port');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is opened as soon as it appears', async () => {
    const port = connect({ path, ...quick });
    await vi.waitFor(() => expect(port.states.length).toBeGreaterThan(2), { timeout: 10_000 });
    expect(port.link.write(Uint8Array.of(1))).toBe(false);
    const line = await pty();
    symlinkSync(line.path, path);
    await port.reaches('open');
    await line.write(Uint8Array.of(1, 2, 3));
    await port.receives(3);
  });

  it('is opened again after it vanished in mid-frame, and only that frame is lost', async () => {
    const port = connect({ path, ...quick });
    const payloads: string[] = [];
    const reader = new FrameReader((_frame, payload) => payloads.push(toHex(payload)));
    const frame = (sequence: number) => encodeSerialFrame({ ...samples, sequence });

    const first = await pty();
    symlinkSync(first.path, path);
    await port.reaches('open');
    const begin = Buffer.concat([frame(1), frame(2).subarray(0, 20)]);
    await first.write(begin);
    await port.receives(begin.length);
    await first.close();
    await port.reaches('retrying');
    for (const bytes of port.received.splice(0)) reader.push(bytes);

    const opened = port.states.findIndex(({ state }) => state === 'open');
    expect(port.states[opened + 1].state).toBe('retrying');
    expect(port.states[opened + 1].detail.error?.message).toBe(`serial port ${path} was lost`);

    rmSync(path);
    const second = await pty();
    symlinkSync(second.path, path);
    await port.reaches('open');
    reader.reset();
    const rest = Buffer.concat([frame(2).subarray(30), frame(3)]);
    await second.write(rest);
    await port.receives(rest.length);
    for (const bytes of port.received) reader.push(bytes);
    expect(payloads).toEqual([1, 3].map((sequence) => toHex(encodeFrame({ ...samples, sequence }))));
    expect(reader.health).toMatchObject({ frames: 2, crcErrors: 0, cobsErrors: 0 });
  });

  it('is tried again after waits that double up to the limit and are shortened by at most half', async () => {
    const port = connect({ path, ...quick });
    await vi.waitFor(() => expect(port.states.length).toBeGreaterThanOrEqual(6), { timeout: 10_000 });
    const waits = port.states.map(({ detail }) => detail.retryInMs!);
    [20, 40, 80, 80, 80, 80].forEach((longest, i) => {
      expect(waits[i]).toBeGreaterThanOrEqual(longest / 2);
      expect(waits[i]).toBeLessThanOrEqual(longest);
    });
    expect(port.states[0].detail).toMatchObject({ path, error: expect.objectContaining({ message: expect.stringContaining(path) }) });
  });

  it('is tried soon again after it has worked', async () => {
    const port = connect({ path, ...quick });
    await vi.waitFor(() => expect(port.states.length).toBeGreaterThanOrEqual(5), { timeout: 10_000 });
    const line = await pty();
    symlinkSync(line.path, path);
    await port.reaches('open');
    await line.write(Uint8Array.of(1));
    await port.receives(1);
    const count = port.states.length;
    await line.close();
    await vi.waitFor(() => expect(port.states.length).toBeGreaterThan(count), { timeout: 10_000 });
    expect(port.states[count].detail.retryInMs).toBeLessThanOrEqual(20);
  });

  it('is reported as lost once where a write fails with it, and works again', async () => {
    const port = connect({ path, baudRate, firstRetryMs: 300, longestRetryMs: 300 });
    const first = await pty();
    symlinkSync(first.path, path);
    await port.reaches('open');
    const count = port.states.length;
    const gone = first.close();
    for (let i = 0; i < 20; i++) port.link.write(allBytes);
    await gone;
    await port.reaches('retrying');
    // Less than the shortest wait: only the loss itself can have been reported.
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(port.states.slice(count).map(({ state }) => state)).toEqual(['retrying']);
    rmSync(path);
    const second = await pty();
    symlinkSync(second.path, path);
    await port.reaches('open');
    await second.write(Uint8Array.of(1, 2));
    await port.receives(2);
  });

  it('is no longer tried after close', async () => {
    const port = connect({ path, ...quick });
    await vi.waitFor(() => expect(port.states.length).toBeGreaterThan(0), { timeout: 10_000 });
    await port.link.close();
    const count = port.states.length;
    expect(port.states.at(-1)?.state).toBe('closed');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(port.states.length).toBe(count);
  });

  it('is not left open when it is closed while opening', async () => {
    const line = await pty();
    const port = connect({ path: line.path, ...quick });
    await port.link.close();
    expect(port.states.map(({ state }) => state)).toEqual(['closed']);
    const next = connect({ path: line.path, ...quick });
    await next.reaches('open');
  });

  it('says which USB device is missing', async () => {
    const port = connect({ usb: { vendorId: 'ffff', productId: 'fffe', serialNumber: 'none' }, ...quick });
    await vi.waitFor(() => expect(port.states.length).toBeGreaterThan(0), { timeout: 10_000 });
    expect(port.states[0].state).toBe('retrying');
    expect(port.states[0].detail.error?.message).toMatch(/no USB device ffff:fffe serial number none is plugged in|udevadm/);
  });
});

describe('wrong use', () => {
  it.each([0, -1, 9600.5, Number.NaN])('refuses a baud rate of %s', (wrong) => {
    expect(() => connect({ path: '/dev/null', baudRate: wrong })).toThrow(RangeError);
  });
});

describe('a pty', () => {
  it('takes no bytes after it was closed', async () => {
    const line = await openPty();
    await line.close();
    await expect(line.write(Uint8Array.of(1))).rejects.toThrow('is closed');
  });
});
