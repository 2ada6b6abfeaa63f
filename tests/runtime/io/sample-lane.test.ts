import fc from 'fast-check';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { PublishBatch } from '../../../runtime/io/publish-batch.ts';
import { SampleLane } from '../../../runtime/io/sample-lane.ts';

const OURS = 'tremolo/v1/plant/hall/samples/';
const versions = [4, 5] as const;
type Version = (typeof versions)[number];

const generated = (packet: Packet, protocolVersion: Version) => mqttPacket.generate(packet, { protocolVersion });

/** Splits bytes at places of its own choice. */
function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}

/** What a lane took and what it handed on. */
function run(version: number, chunks: readonly Buffer[]) {
  const taken: string[] = [];
  const handed: Buffer[] = [];
  const lane = new SampleLane(
    version,
    (topic, payload) => {
      if (!topic.startsWith(OURS)) return false;
      taken.push(`${topic} ${Buffer.from(payload).toString('hex')}`);
      return true;
    },
    (bytes) => handed.push(Buffer.from(bytes)),
  );
  for (const chunk of chunks) lane.push(chunk);
  return { taken, handed: Buffer.concat(handed) };
}

const payloads = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const topics = fc.constantFrom(`${OURS}a`, `${OURS}ü`, 'tremolo/v1/plant/hall/operator/a', 'other', '$SYS/x');

function packets(version: Version): fc.Arbitrary<Packet> {
  const properties = fc.option(
    fc.record({
      userProperties: fc.dictionary(fc.string({ minLength: 1, maxLength: 90 }), fc.string({ maxLength: 90 }), { minKeys: 1, maxKeys: 2 }),
    }),
    { nil: undefined },
  );
  const publish = fc
    .record({ topic: topics, payload: payloads, qos: fc.constantFrom(0, 0, 0, 1), retain: fc.boolean(), properties })
    .map(({ properties: own, ...rest }) => ({
      cmd: 'publish' as const,
      dup: false,
      ...rest,
      ...(rest.qos > 0 && { messageId: 7 }),
      ...(version === 5 && own && { properties: own }),
    }));
  const other = fc.constantFrom<Packet>(
    { cmd: 'pingresp' },
    { cmd: 'puback', messageId: 300 },
    { cmd: 'suback', messageId: 9, granted: [0, 1] },
  );
  return fc.oneof({ weight: 4, arbitrary: publish as fc.Arbitrary<Packet> }, other);
}

describe.each(versions)('the sample lane on MQTT version %i', (version) => {
  it('takes every sample message once and in order, and hands on all else byte for byte, wherever the bytes are cut', () => {
    fc.assert(
      fc.property(fc.array(packets(version), { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 20 }), (sent, cuts) => {
        const isOurs = (packet: Packet) => packet.cmd === 'publish' && packet.qos === 0 && !packet.retain && packet.topic.startsWith(OURS);
        const bytes = (which: Packet[]) => Buffer.concat(which.map((packet) => generated(packet, version)));
        const { taken, handed } = run(version, pieces(bytes(sent), cuts));
        expect(taken).toEqual(
          sent.filter(isOurs).map((packet) => packet.cmd === 'publish' && `${packet.topic} ${Buffer.from(packet.payload).toString('hex')}`),
        );
        expect(handed).toEqual(bytes(sent.filter((packet) => !isOurs(packet))));
      }),
    );
  });

  it('loses and invents nothing on bytes that are no packets', () => {
    const small = fc.uint8Array({ maxLength: 400 });
    // Heads of PUBLISH packets, so that lengths are believed now and then.
    const likely = fc
      .array(fc.constantFrom(0x30, 0x31, 0x00, 0x05, 0x7f, 0x80, 0xff, 0x20), { maxLength: 400 })
      .map((all) => Uint8Array.from(all));
    fc.assert(
      fc.property(fc.oneof(small, likely), fc.array(fc.nat(), { maxLength: 10 }), (noise, cuts) => {
        const bytes = Buffer.from(noise);
        const whole = run(version, [bytes]);
        expect(run(version, pieces(bytes, cuts))).toEqual(whole);
        // Nothing is ours here, so what is not handed on yet is the beginning of a packet that is not whole.
        expect(bytes.subarray(0, whole.handed.length)).toEqual(whole.handed);
      }),
    );
  });

  it('hands on a packet that is larger than any sample message as it comes', () => {
    const large = generated(
      { cmd: 'publish', topic: `${OURS}a`, payload: Buffer.alloc(100_000, 1), qos: 0, retain: false, dup: false },
      version,
    );
    const cut = [large.subarray(0, 50_000), large.subarray(50_000)];
    expect(run(version, cut)).toEqual({ taken: [], handed: large });
  });

  it('hands on what has no valid length, so that the client can refuse it', () => {
    const bytes = Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x30, 0x02, 0x00, 0x00]);
    expect(run(version, pieces(bytes, [1, 2, 3, 4, 5, 6]))).toEqual({ taken: [], handed: bytes });
  });

  it('reads back what a batch of messages was written as, and so does the library', () => {
    const message = fc.record({ topic: topics, payload: fc.string({ unit: 'binary', maxLength: 20_000 }), retain: fc.boolean() });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
        const batch = new PublishBatch(version);
        for (const { topic, payload, retain } of messages) batch.add(topic, Buffer.from(payload), retain);
        const seen: unknown[] = [];
        const parser = mqttPacket.parser({ protocolVersion: version });
        parser.on('packet', (packet: Packet) => {
          if (packet.cmd === 'publish') seen.push([packet.topic, packet.payload.toString(), packet.retain, packet.qos]);
        });
        parser.parse(batch.take());
        expect(seen).toEqual(messages.map(({ topic, payload, retain }) => [topic, Buffer.from(payload).toString(), retain, 0]));
        expect(batch.length).toBe(0);
      }),
    );
  });
});
