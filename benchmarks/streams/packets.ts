import { crc32c, createSampleFrame, encodeFrame, HEADER_BYTES } from '../../firmware-bridge/codec/index.ts';
import { createMachine, FULL_SCALE_G, MachineSimulator, SAMPLE_RATE_HZ } from '../../firmware-bridge/simulator/pure/index.ts';

/** Machines whose signals are simulated; streams share them at different places. */
const MACHINES = 16;
/** Frames of a machine's signal before it begins again. */
const LOOP_FRAMES = 32;
const CHANNELS = 3;
/** Where the fields that change lie in a samples frame: see firmware-bridge/README.md. */
const SEQUENCE_AT = HEADER_BYTES;
const DEVICE_TIME_AT = 12;
const CRC_BYTES = 4;

/**
 * Whole MQTT packets (PUBLISH, QoS 0) of simulated machines, encoded before the run: to send one, its sequence, time, samples and CRC are
 * written into a copy.
 */
export class SamplePackets {
  readonly #signals: readonly Uint8Array[];
  readonly #templates: readonly Uint8Array[];
  readonly #frameBytes: number;
  readonly #samplesBytes: number;
  readonly #frameSamples: number;

  constructor(topics: readonly string[], frameSamples: number) {
    this.#frameSamples = frameSamples;
    this.#samplesBytes = 2 * CHANNELS * frameSamples;
    const scale = FULL_SCALE_G / 32_767;
    this.#signals = Array.from({ length: MACHINES }, (_, machine) => {
      const simulator = new MachineSimulator({ machine: createMachine({ seed: 1_000_003 * (machine + 1) }), seed: machine });
      const physical = new Float32Array(LOOP_FRAMES * frameSamples * CHANNELS);
      simulator.next(physical);
      return new Uint8Array(Int16Array.from(physical, (value) => Math.max(-32_767, Math.min(32_767, Math.round(value / scale)))).buffer);
    });
    const frame = encodeFrame({
      ...createSampleFrame(CHANNELS, CHANNELS * frameSamples),
      sampleRateHz: SAMPLE_RATE_HZ,
      channelCount: CHANNELS,
      samplesPerChannel: frameSamples,
      scales: new Float32Array(CHANNELS).fill(scale),
    });
    this.#frameBytes = frame.length;
    this.#templates = topics.map((topic) => publishPacket(topic, frame));
  }

  bytesOf(stream: number): number {
    return this.#templates[stream].length;
  }

  /** Writes the packet of a stream's frame into `into` at `at`. @returns where it ends */
  write(stream: number, frame: number, into: Uint8Array, at: number): number {
    const template = this.#templates[stream];
    into.set(template, at);
    const end = at + template.length;
    const begin = end - this.#frameBytes;
    const view = new DataView(into.buffer, into.byteOffset);
    const sequence = frame * this.#frameSamples;
    const timeUs = sequence * (1e6 / SAMPLE_RATE_HZ);
    view.setUint32(begin + SEQUENCE_AT, sequence, true);
    view.setUint32(begin + DEVICE_TIME_AT, timeUs >>> 0, true);
    view.setUint32(begin + DEVICE_TIME_AT + 4, Math.floor(timeUs / 2 ** 32), true);
    const from = ((frame + stream) % LOOP_FRAMES) * this.#samplesBytes;
    into.set(this.#signals[stream % MACHINES].subarray(from, from + this.#samplesBytes), end - CRC_BYTES - this.#samplesBytes);
    view.setUint32(end - CRC_BYTES, crc32c(into, begin, end - CRC_BYTES), true);
    return end;
  }
}

/** MQTT 3.1.1 clause 3.3, QoS 0, not retained. */
function publishPacket(topic: string, payload: Uint8Array): Uint8Array {
  const name = new TextEncoder().encode(topic);
  let remaining = 2 + name.length + payload.length;
  const length: number[] = [];
  do {
    length.push((remaining % 128) | (remaining >= 128 ? 128 : 0));
    remaining = Math.floor(remaining / 128);
  } while (remaining > 0);
  return Uint8Array.from([0x30, ...length, name.length >> 8, name.length & 255, ...name, ...payload]);
}
