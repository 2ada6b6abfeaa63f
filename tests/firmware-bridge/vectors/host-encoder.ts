import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DeviceFrame } from '../../../firmware-bridge/codec/index.ts';
import { fromHex } from './vectors.ts';

export const cFolder = new URL('../../../firmware-bridge/c', import.meta.url).pathname;

/** Empty where the C tests can run, otherwise why they cannot. */
export const noCompiler = spawnSync('gcc', ['--version']).status === 0 ? '' : 'gcc is not installed';

export interface HostEncoder {
  /** The C encoder's bytes for each frame; undefined where it refuses. */
  encode(frames: readonly DeviceFrame[]): ({ payload: Uint8Array; serial: Uint8Array } | undefined)[];
  /** What the C command reader makes of each stream of bytes: `type streamId rateBits hostTimeUs`, one string a command. */
  readCommands(streams: readonly Uint8Array[]): string[][];
  close(): void;
}

/** Compiles the C sources with every warning an error, and with the sanitizers, so that an access out of bounds ends the program. */
export function compileHostEncoder(): HostEncoder {
  const folder = mkdtempSync(join(tmpdir(), 'tremolo-c-'));
  const program = join(folder, 'host_encoder');
  const sources = ['host_encoder.c', 'tremolo_frame.c', 'tremolo_command.c'].map((name) => join(cFolder, name));
  const flags = ['-std=c99', '-pedantic', '-Wall', '-Wextra', '-Wconversion', '-Werror', '-O1', '-fsanitize=address,undefined'];
  execFileSync('gcc', [...flags, '-fno-sanitize-recover=all', '-o', program, ...sources], { stdio: 'pipe' });
  const run = (lines: readonly string[]): string[] =>
    execFileSync(program, {
      input: lines.map((line) => `${line}\n`).join(''),
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    })
      .split('\n')
      .slice(0, -1);
  return {
    encode: (frames) =>
      run(frames.map(toLine)).map((line) => {
        const [payload, serial] = line.split(' ');
        return payload === '-' ? undefined : { payload: fromHex(payload), serial: fromHex(serial) };
      }),
    readCommands: (streams) =>
      run(streams.map((bytes) => `command ${Buffer.from(bytes).toString('hex')}`)).map((line) =>
        (line.match(/\d+ \d+ \d+ \d+/g) ?? []).map(String),
      ),
    close: () => rmSync(folder, { recursive: true }),
  };
}

/** Floats go as the value of their bits, texts as hexadecimal: nothing is lost between the two programs. */
function toLine(frame: DeviceFrame): string {
  const { kind, streamId, epoch } = frame;
  return [kind, streamId, epoch, ...fields(frame)].join(' ');
}

function fields(frame: DeviceFrame): (number | string)[] {
  switch (frame.kind) {
    case 'samples':
      return [
        frame.sequence,
        frame.deviceTimeUs,
        floatBits(frame.sampleRateHz),
        frame.channelCount,
        frame.samplesPerChannel,
        frame.shaftSpeedRpm === undefined ? 0 : 1,
        floatBits(frame.shaftSpeedRpm ?? 0),
        ...Array.from(frame.scales, floatBits),
        ...Array.from(frame.samples, (value) => value & 0xffff),
      ];
    case 'heartbeat':
      return [frame.running ? 1 : 0, frame.deviceTimeUs, frame.nextSequence, frame.droppedSamples, floatBits(frame.sampleRateHz)];
    case 'description':
      return [
        floatBits(frame.sampleRateHz),
        floatBits(frame.maxSampleRateHz),
        frame.channels.length,
        ...[frame.deviceId, frame.model, frame.firmware, ...frame.channels.flatMap(({ name, unit }) => [name, unit])].map(
          (text) => `x${Buffer.from(text, 'latin1').toString('hex')}`,
        ),
      ];
    case 'timeSyncReply':
      return [frame.hostTimeUs, frame.deviceReceiveUs, frame.deviceSendUs];
  }
}

export function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}
