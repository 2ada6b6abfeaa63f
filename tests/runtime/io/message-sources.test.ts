import { describe, expect, it } from 'vitest';
import { type MessageSourceSettings, MessageSources } from '../../../runtime/io/message-sources.ts';
import { foreignFormatSchema } from '../../../runtime/sources/index.ts';

const settings = {
  site: 'plant',
  gateway: 'hall',
  broker: { qos: 0 },
  mqtt: [],
  foreign: [
    {
      topic: 'hall/+/vibration',
      stream: '{1}',
      format: foreignFormatSchema.parse({ format: 'json', path: '$.v[*]', channels: 2, sampleRateHz: 1000, range: 10 }),
    },
  ],
  largestStreams: 8,
} as unknown as MessageSourceSettings;

function listening() {
  const refused: string[] = [];
  const frames: string[] = [];
  const sources = new MessageSources(
    settings,
    (stream, { samplesPerChannel }) => frames.push(`${stream} ${samplesPerChannel}`),
    () => {},
    (topic, cause) => refused.push(`${topic} ${cause}`),
  );
  const take = (topic: string, text: string) => sources.take(topic, Buffer.from(text), 0);
  return { take, refused, frames, sources };
}

describe('sources over MQTT', () => {
  it('say of a message that is refused on which topic it came and why, of others nothing', () => {
    const { take, refused, frames } = listening();
    take('hall/press/vibration', 'BOOT v1.2');
    take('hall/press/vibration', '{"v":[1,2,3]}');
    take('hall/press/vibration', '{"v":[1,null]}');
    take('hall/saw/vibration', '{"v":[1,2,3,4]}');
    take('tremolo/v1/plant/hall/samples/pump', 'no frame');
    expect(refused).toEqual([
      'hall/press/vibration malformed',
      'hall/press/vibration wrongChannels',
      'hall/press/vibration notFinite',
      'tremolo/v1/plant/hall/samples/pump tooShort',
    ]);
    expect(frames).toEqual(['saw 2']);
  });

  it('leave other topics alone', () => {
    const { take, refused } = listening();
    expect(take('hall/press/temperature', '{"v":[1,2]}')).toBe(false);
    expect(refused).toEqual([]);
  });
});
