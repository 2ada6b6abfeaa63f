import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Command,
  type DeviceFrame,
  decodeFrame,
  encodeFrame,
  encodeSerialFrame,
  FrameReader,
  FrameType,
  type SampleFrame,
} from '../../firmware-bridge/codec/index.ts';
import { anyCommand, anyDeviceFrame, seededRandom } from './vectors/arbitrary.ts';
import { cFolder, compileHostEncoder, floatBits, type HostEncoder, noCompiler } from './vectors/host-encoder.ts';
import { toHex, vector, vectors } from './vectors/vectors.ts';

const deviceRows = vectors.filter(({ frame }) => FrameType[frame.kind] < FrameType.start);
const commandRows = vectors.filter(({ frame }) => FrameType[frame.kind] >= FrameType.start);

const skipped = noCompiler ? ` (skipped: ${noCompiler})` : '';

const annotated = vector('two channels, three samples, with shaft speed');

describe.skipIf(noCompiler)(`the C encoder${skipped}`, () => {
  let encoder: HostEncoder;
  beforeAll(() => {
    encoder = compileHostEncoder();
  });
  afterAll(() => encoder?.close());

  it.each(deviceRows)('still gives the golden bytes of $name', ({ frame, payload, serial }) => {
    const [bytes] = encoder.encode([frame as DeviceFrame]);
    expect(toHex(bytes!.payload)).toBe(toHex(payload));
    expect(toHex(bytes!.serial)).toBe(toHex(serial));
  });

  it('gives the TypeScript encoder’s bytes for any frame, and the decoder gives the frame back', () => {
    const frames = fc.sample(anyDeviceFrame, { numRuns: 500, seed: 6 });
    const encoded = encoder.encode(frames);
    frames.forEach((frame, i) => {
      expect(toHex(encoded[i]!.payload)).toBe(toHex(encodeFrame(frame)));
      expect(toHex(encoded[i]!.serial)).toBe(toHex(encodeSerialFrame(frame)));
      expect(decodeFrame(encoded[i]!.payload)).toEqual(frame);
    });
  });

  it('gives a stream that the frame reader takes whole', () => {
    const frames = fc.sample(anyDeviceFrame, { numRuns: 100, seed: 7 });
    const payloads: string[] = [];
    const reader = new FrameReader((_frame, payload) => payloads.push(toHex(payload)));
    for (const bytes of encoder.encode(frames)) reader.push(bytes!.serial);
    expect(payloads).toEqual(frames.map((frame) => toHex(encodeFrame(frame))));
    expect(reader.health.skippedBytes).toBe(0);
  });

  it('agrees on frames of all lengths around the COBS block, with and without zeros', () => {
    const base = vector('the smallest samples frame').frame as SampleFrame;
    const frames = Array.from({ length: 300 }, (_, n) => ({
      ...base,
      samplesPerChannel: n + 1,
      samples: new Int16Array(n + 1).fill(n % 3 ? 0x0101 : 0),
    }));
    encoder.encode(frames).forEach((bytes, i) => {
      expect(toHex(bytes!.serial)).toBe(toHex(encodeSerialFrame(frames[i])));
    });
  });

  it('refuses what the gateway would refuse', () => {
    const samples = vector('two channels, three samples, with shaft speed').frame as SampleFrame;
    const description = vector('a description').frame as Extract<DeviceFrame, { kind: 'description' }>;
    const bad: DeviceFrame[] = [
      { ...samples, streamId: 0xffff },
      { ...samples, channelCount: 0, scales: new Float32Array(0), samples: new Int16Array(0) },
      { ...samples, channelCount: 17, samplesPerChannel: 1, scales: new Float32Array(17).fill(1), samples: new Int16Array(17) },
      { ...samples, samplesPerChannel: 0, samples: new Int16Array(0) },
      { ...samples, samplesPerChannel: 5_000, samples: new Int16Array(10_000) },
      { ...samples, deviceTimeUs: 2 ** 53 },
      { ...samples, sampleRateHz: 0 },
      { ...samples, sampleRateHz: Number.NaN },
      { ...samples, scales: Float32Array.of(1, 0) },
      { ...samples, scales: Float32Array.of(Number.POSITIVE_INFINITY, 1) },
      { ...samples, shaftSpeedRpm: Number.NaN },
      { ...description, deviceId: 'a\nb' },
      { ...description, channels: [] },
      { ...description, maxSampleRateHz: -1 },
    ];
    expect(encoder.encode(bad)).toEqual(bad.map(() => undefined));
    for (const frame of bad) expect(() => encodeFrame(frame)).toThrow(RangeError);
  });

  it('does in the README’s example what the README says', () => {
    const readme = readFileSync(join(cFolder, '../README.md'), 'utf8');
    const [, example] = /```c\n([\s\S]*?)```/.exec(readme)!;
    const folder = mkdtempSync(join(tmpdir(), 'tremolo-readme-'));
    try {
      const main = `#include <stdio.h>
        void uart_write(const uint8_t *bytes, size_t length) { while (length-- > 0) printf("%02x", *bytes++); }
        int main(void) {
          const int16_t block[] = {1, -1, 256, -256, 32767, -32768};
          send_block(block, 1000, 12345678);
          return 0;
        }`;
      writeFileSync(join(folder, 'example.c'), `${example}\n${main}`);
      const flags = ['-std=c99', '-Wall', '-Wextra', '-Werror', '-I', cFolder, '-o', join(folder, 'example')];
      execFileSync('gcc', [...flags, join(folder, 'example.c'), join(cFolder, 'tremolo_frame.c')], { stdio: 'pipe' });
      expect(execFileSync(join(folder, 'example'), { encoding: 'utf8' })).toBe(toHex(annotated.serial));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('stays below 2 kB of code, measured with the host’s compiler', () => {
    const folder = mkdtempSync(join(tmpdir(), 'tremolo-size-'));
    try {
      const object = join(folder, 'frame.o');
      // Unwind tables are the host's habit and not on a microcontroller. x86-64 code is larger than Thumb-2: README.md has both numbers.
      const flags = ['-std=c99', '-Os', '-fno-asynchronous-unwind-tables', '-fno-stack-protector', '-fcf-protection=none'];
      execFileSync('gcc', [...flags, '-c', join(cFolder, 'tremolo_frame.c'), '-o', object]);
      const [text, data, bss] = execFileSync('size', [object], { encoding: 'utf8' }).split('\n')[1].trim().split(/\s+/).map(Number);
      expect(text).toBeLessThan(2_000);
      expect(data + bss).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe.skipIf(noCompiler)(`the C command reader${skipped}`, () => {
  let encoder: HostEncoder;
  beforeAll(() => {
    encoder = compileHostEncoder();
  });
  afterAll(() => encoder?.close());

  const asC = (command: Command): string => {
    const rate = command.kind === 'rate' ? floatBits(command.sampleRateHz) : 0;
    return `${FrameType[command.kind]} ${command.streamId} ${rate} ${command.kind === 'timeSync' ? command.hostTimeUs : 0}`;
  };

  it('reads the commands that TypeScript encodes, one after another', () => {
    const commands = [...commandRows.map(({ frame }) => frame as Command), ...fc.sample(anyCommand, { numRuns: 300, seed: 8 })];
    const stream = new Uint8Array(Buffer.concat(commands.map(encodeSerialFrame)));
    expect(encoder.readCommands([stream])).toEqual([commands.map(asC)]);
  });

  it('passes over frames of devices, noise and damaged commands', () => {
    const start = encodeSerialFrame({ kind: 'start', streamId: 1 });
    const stop: Command = { kind: 'stop', streamId: 2 };
    const random = seededRandom(9);
    const noise = () => Uint8Array.from({ length: Math.floor(random() * 60) }, () => Math.floor(random() * (random() < 0.5 ? 8 : 256)));
    const streams = Array.from({ length: 500 }, (_, i) => {
      const damaged = start.slice();
      damaged[i % (start.length - 1)] ^= 1 + (i % 255);
      const frame = deviceRows[i % deviceRows.length].serial;
      return new Uint8Array(Buffer.concat([noise(), Uint8Array.of(0), frame, damaged, Uint8Array.of(0), encodeSerialFrame(stop)]));
    });
    expect(encoder.readCommands(streams)).toEqual(streams.map(() => [asC(stop)]));
  });
});
