import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  ClockEstimator,
  type Command,
  type Description,
  encodeSerialFrame,
  type Frame,
  FrameReader,
  type Heartbeat,
  type SampleFrame,
  SequenceTracker,
  type TimeSyncReply,
} from '../../firmware-bridge/codec/index.ts';
import { openSerial, type SerialLink } from '../../firmware-bridge/serial/index.ts';
import { type Board, noArmCompiler, noBoard, powerUpBoard } from './firmware/board.ts';
import { FIRMWARE_CHANNELS, firmwareSamples } from './firmware/signal.ts';
import { cFolder } from './vectors/host-encoder.ts';

const skipped = (why: string) => (why ? ` (skipped: ${why})` : '');

describe.skipIf(noArmCompiler)(`the C encoder on Cortex-M${skipped(noArmCompiler)}`, () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'tremolo-arm-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const compile = (source: string, cpu: string): string => {
    const object = join(folder, `${source}-${cpu}.o`);
    const flags = ['-std=c99', '-Wall', '-Wextra', '-Wconversion', '-Werror', '-Os', '-mthumb', `-mcpu=${cpu}`];
    execFileSync('arm-none-eabi-gcc', [...flags, '-c', join(cFolder, `${source}.c`), '-o', object], { stdio: 'pipe' });
    return object;
  };

  it.each(['cortex-m0plus', 'cortex-m3', 'cortex-m4'])('has less than 2 kB of code with the command reader and no data on %s', (cpu) => {
    const objects = ['tremolo_frame', 'tremolo_command'].map((source) => compile(source, cpu));
    const rows = execFileSync('arm-none-eabi-size', objects, { encoding: 'utf8' }).trim().split('\n').slice(1);
    const sizes = rows.map((row) => row.trim().split(/\s+/).map(Number));
    expect(sizes.reduce((sum, [text]) => sum + text, 0)).toBeLessThan(2_000);
    for (const [, data, bss] of sizes) expect(data + bss).toBe(0);
  });

  it('asks for nothing but three functions of string.h, not even floating point', () => {
    const wanted = execFileSync('arm-none-eabi-nm', ['-u', compile('tremolo_frame', 'cortex-m3')], { encoding: 'utf8' });
    expect(wanted.match(/(?<=U )\w+/g)).toEqual(['memcpy', 'memmove', 'strlen']);
  });
});

describe.skipIf(noBoard)(`the firmware on an emulated Cortex-M3 board${skipped(noBoard)}`, () => {
  let board: Board;
  let link: SerialLink;
  const frames: Frame[] = [];
  const arrivalUs: number[] = [];
  const reader = new FrameReader((frame) => {
    frames.push(structuredClone(frame));
    arrivalUs.push(performance.now() * 1_000);
  });

  beforeAll(async () => {
    board = await powerUpBoard();
    link = openSerial(
      { path: board.path, baudRate: 115_200 },
      (bytes) => reader.push(bytes),
      () => {},
    );
    await waitFor(() => expect(frames.length).toBeGreaterThan(0));
  });
  afterAll(async () => {
    await link?.close();
    await board?.close();
  });

  const waitFor = (check: () => void) => vi.waitFor(check, { timeout: 50_000, interval: 5 });
  const send = (command: Command) => expect(link.write(encodeSerialFrame(command))).toBe(true);

  /** Frames of a kind from place `from` on, of one epoch. */
  function framesOf<K extends Frame['kind']>(kind: K, from: number, epoch?: number): Extract<Frame, { kind: K }>[] {
    const found = frames.slice(from).filter((frame) => frame.kind === kind) as Extract<Frame, { kind: K }>[];
    return epoch === undefined ? found : found.filter((frame) => 'epoch' in frame && frame.epoch === epoch);
  }

  const valuesOf = ({ samples, samplesPerChannel, channelCount }: SampleFrame) => samples.slice(0, samplesPerChannel * channelCount);

  /** Commands have no answer; what they do shows in the frames. */
  async function start(): Promise<{ from: number; epoch: number }> {
    const from = frames.length;
    send({ kind: 'start', streamId: 1 });
    const first = await waitForFrame('samples', from, ({ sequence }) => sequence === 0);
    return { from, epoch: first.epoch };
  }

  async function waitForFrame<K extends Frame['kind']>(
    kind: K,
    from: number,
    wanted: (frame: Extract<Frame, { kind: K }>) => boolean = () => true,
  ): Promise<Extract<Frame, { kind: K }>> {
    let found: Extract<Frame, { kind: K }> | undefined;
    await waitFor(() => {
      found = framesOf(kind, from).find(wanted);
      expect(found, kind).toBeDefined();
    });
    return found!;
  }

  it('streams without being asked', async () => {
    const frame = await waitForFrame('samples', 0);
    expect(frame).toMatchObject({ streamId: 1, channelCount: FIRMWARE_CHANNELS, samplesPerChannel: 128, sampleRateHz: 1_000 });
    expect(valuesOf(frame)).toEqual(firmwareSamples(frame.sequence, 128));
  });

  it('begins a new epoch at sample 0 when it is started, and every sample comes, at its time, with the value that it was given', async () => {
    const { from, epoch } = await start();
    await waitFor(() => expect(framesOf('samples', from, epoch).length).toBeGreaterThanOrEqual(30));
    const stream = framesOf('samples', from, epoch);
    const tracker = new SequenceTracker();
    stream.forEach((frame, n) => {
      expect(tracker.accept(frame)).toBe(n === 0 ? 'first' : 'next');
      expect(frame.sequence).toBe(128 * n);
      expect(frame.deviceTimeUs).toBe(stream[0].deviceTimeUs + 128_000 * n);
      expect(valuesOf(frame)).toEqual(firmwareSamples(frame.sequence, 128));
    });
    expect(tracker.lost).toBe(0);
  });

  it('begins another epoch with each start, and what the last one had taken is sent before', async () => {
    const first = await start();
    const second = await start();
    expect(second.epoch).toBe((first.epoch + 1) & 0xffff);
    const ended = framesOf('samples', first.from, first.epoch);
    const tracker = new SequenceTracker();
    for (const frame of ended) expect(['first', 'next']).toContain(tracker.accept(frame));
    for (const frame of ended) expect(valuesOf(frame)).toEqual(firmwareSamples(frame.sequence, frame.samplesPerChannel));
  });

  it('takes another rate without losing a sample', async () => {
    const { from, epoch } = await start();
    send({ kind: 'rate', streamId: 1, sampleRateHz: 500 });
    await waitFor(() => expect(framesOf('samples', from, epoch).filter((f) => f.sampleRateHz === 500).length).toBeGreaterThan(4));
    send({ kind: 'rate', streamId: 1, sampleRateHz: 1_000 });
    await waitForFrame(
      'samples',
      from,
      (f) => f.epoch === epoch && f.sampleRateHz === 1_000 && f.samplesPerChannel === 128 && f.sequence > 500,
    );
    const tracker = new SequenceTracker();
    const stream = framesOf('samples', from, epoch);
    stream.forEach((frame, n) => {
      expect(tracker.accept(frame)).toBe(n === 0 ? 'first' : 'next');
      expect(valuesOf(frame)).toEqual(firmwareSamples(frame.sequence, frame.samplesPerChannel));
      const before = stream[n - 1];
      if (!before || before.sampleRateHz !== frame.sampleRateHz) return;
      expect(frame.deviceTimeUs - before.deviceTimeUs).toBe((before.samplesPerChannel * 1e6) / before.sampleRateHz);
    });
    expect(stream.find((f) => f.sampleRateHz === 500 && f.samplesPerChannel === 64)).toBeDefined();
  });

  it.each([0.5, 5_000])('goes on as before when it cannot do a rate of %s Hz', async (sampleRateHz) => {
    const from = frames.length;
    send({ kind: 'rate', streamId: 1, sampleRateHz });
    send({ kind: 'timeSync', streamId: 1, hostTimeUs: 1 });
    // Commands are obeyed in order: after this answer the rate has been looked at.
    const reply = await waitForFrame('timeSyncReply', from);
    const beat = await waitForFrame('heartbeat', frames.indexOf(reply));
    expect(beat).toMatchObject({ running: true, sampleRateHz: 1_000 });
  });

  it('tells in its heartbeat where the stream is', async () => {
    const { from, epoch } = await start();
    const beat: Heartbeat = await waitForFrame('heartbeat', from, (frame) => frame.epoch === epoch && frame.nextSequence > 0);
    const at = frames.indexOf(beat);
    const last = frames.slice(0, at).findLast((frame) => frame.kind === 'samples') as SampleFrame;
    expect(beat).toMatchObject({ streamId: 1, running: true, droppedSamples: 0, nextSequence: last.sequence + last.samplesPerChannel });
    expect(beat.deviceTimeUs).toBeGreaterThan(last.deviceTimeUs);
  });

  it('stops with its last samples sent, and its heart goes on beating', async () => {
    const { from, epoch } = await start();
    send({ kind: 'stop', streamId: 0xffff });
    const stopped = await waitForFrame('heartbeat', from, (frame) => !frame.running);
    const at = frames.indexOf(stopped);
    await waitForFrame('heartbeat', at + 1);
    expect(framesOf('samples', at)).toEqual([]);
    const tracker = new SequenceTracker();
    for (const frame of framesOf('samples', from, epoch)) tracker.accept(frame);
    expect(tracker.received).toBe(stopped.nextSequence);
    expect(tracker.lost).toBe(0);
    await start();
  });

  it('answers a time sync, then describes itself, also after noise on the line', async () => {
    const from = frames.length;
    link.write(Uint8Array.from([...new Uint8Array(300).fill(0x55), 0]));
    const hostTimeUs = Math.round(performance.now() * 1_000);
    send({ kind: 'timeSync', streamId: 1, hostTimeUs });
    const reply: TimeSyncReply = await waitForFrame('timeSyncReply', from);
    expect(reply).toMatchObject({ streamId: 1, hostTimeUs });
    expect(reply.deviceSendUs).toBeGreaterThanOrEqual(reply.deviceReceiveUs);
    const clock = new ClockEstimator();
    clock.observeReply(reply, arrivalUs[frames.indexOf(reply)]);
    expect(Number.isFinite(clock.estimate!.roundTripUs)).toBe(true);
    const description: Description = await waitForFrame('description', frames.indexOf(reply));
    expect(description).toMatchObject({
      streamId: 1,
      sampleRateHz: 1_000,
      maxSampleRateHz: 1_600,
      deviceId: 'mps2-an385-1',
      channels: ['x', 'y', 'z'].map((name) => ({ name, unit: 'm/s2' })),
    });
  });

  it('does nothing at the commands of another stream', async () => {
    const { from, epoch } = await start();
    send({ kind: 'stop', streamId: 2 });
    send({ kind: 'start', streamId: 2 });
    await waitFor(() => expect(framesOf('samples', from, epoch).length).toBeGreaterThan(6));
    expect(framesOf('samples', from).filter((frame) => frame.epoch > epoch)).toEqual([]);
    expect(framesOf('heartbeat', from).filter(({ running }) => !running)).toEqual([]);
  });

  it('has brought no damaged byte in all that', () => {
    const { bytes, frames: count, frameBytes, idleBytes, skippedBytes, ...causes } = reader.health;
    expect(causes).toEqual(Object.fromEntries(Object.keys(causes).map((cause) => [cause, 0])));
    expect(count).toBe(frames.length);
    expect(bytes).toBe(frameBytes + idleBytes + skippedBytes + reader.pendingBytes);
  });
});
