import { chmod, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { matchUsb } from '../../../firmware-bridge/serial/serial.ts';
import { TopicPattern } from '../../../runtime/contracts/topic-pattern.ts';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { ConfigurationRefusal, readConfiguration, serialOptionsOf } from '../../../runtime/io/configuration.ts';

async function file(text: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), 'tremolo-config-')), 'gateway.yaml');
  await writeFile(path, text);
  return path;
}

const HEAD = 'site: plant-1\ngateway: hall-3\nbundle: ./bundle\n';
const BROKER = 'broker: { url: mqtt://127.0.0.1:1883 }\n';

async function mistakes(text: string | Promise<string>): Promise<string> {
  const path = await text;
  const error = await readConfiguration(path.includes('\n') ? await file(path) : path).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ConfigurationRefusal);
  return (error as ConfigurationRefusal).message;
}

describe('gateway.yaml', () => {
  it('is read with its defaults, paths relative to the file', async () => {
    const path = await file(HEAD + BROKER);
    expect(await readConfiguration(path)).toMatchObject({
      site: 'plant-1',
      engine: 'onnxruntime',
      serial: [],
      mqtt: [],
      foreign: [],
      broker: { protocolVersion: 4, qos: 0 },
      bundle: path.replace('gateway.yaml', 'bundle'),
      stateFolder: path.replace('gateway.yaml', 'state'),
      outbox: { largestBytes: 67_108_864 },
    });
  });

  it('reports all mistakes at once, with their lines', async () => {
    const message = await mistakes(
      'site: "a/b"\ngateway: hall\nbundle: b\nbroker:\n  url: http://nowhere\nserial:\n  - name: press\n    path: /dev/x\n    baudRate: -1\ntypo: 1\n',
    );
    expect(message).toMatch(/line 1, site/);
    expect(message).toMatch(/line 5, broker\.url/);
    expect(message).toMatch(/line 9, serial\.0\.baudRate/);
    expect(message).toMatch(/typo/);
    expect(message.split('\n')).toHaveLength(1);
  });

  it('says of what is missing where it should be', async () => {
    expect(await mistakes(`${HEAD}${BROKER}serial:\n  - path: /dev/x\n`)).toMatch(/line 6, serial\.0\.name/);
  });

  it('refuses what is not YAML', async () => {
    await expect(readConfiguration(await file('site: [1, 2'))).rejects.toThrow(ConfigurationRefusal);
  });

  it('names a port by path, or a USB device by vendor and product, serial number, or all', async () => {
    const { serial } = await readConfiguration(
      await file(`${HEAD}${BROKER}serial:
  - { name: a, path: /dev/ttyUSB0 }
  - { name: b, usb: "0403:6001" }
  - { name: c, usb: 10c4:ea60, serialNumber: "0001" }
  - { name: d, serialNumber: A50285BI, baudRate: 9600 }
`),
    );
    expect(serial.map(serialOptionsOf)).toEqual([
      { path: '/dev/ttyUSB0', baudRate: 115_200 },
      { usb: { vendorId: '0403', productId: '6001', serialNumber: undefined }, baudRate: 115_200 },
      { usb: { vendorId: '10c4', productId: 'ea60', serialNumber: '0001' }, baudRate: 115_200 },
      { usb: { vendorId: undefined, productId: undefined, serialNumber: 'A50285BI' }, baudRate: 9600 },
    ]);
  });

  it.each([
    ['{ name: a }', /serial\.0: name the port/],
    ['{ name: a, path: /dev/x, usb: "0403:6001" }', /serial\.0: name the port/],
    ['{ name: a, usb: ftdi }', /serial\.0\.usb: must be vendor:product/],
    ['{ name: a, serialNumber: 12 }', /serial\.0\.serialNumber: must be text: put it in quotes/],
    ['{ name: a, path: x }, { name: a, path: y }', /serial\.1: a is there twice/],
  ])('refuses the port %s', async (port, expected) => {
    expect(await mistakes(`${HEAD}${BROKER}serial: [${port}]\n`)).toMatch(expected);
  });

  it('reads foreign sources on topics and ports, and names the mistakes in each', async () => {
    const good = `${HEAD}${BROKER}foreign:
  - { topic: hall/+/vib, stream: "hall-{1}", format: { format: int16, channels: 3, sampleRateHz: 1000 } }
  - { stream: pump, usb: 0403:6001, format: { format: csv, channels: 3, sampleRateHz: 1000, range: 16 } }
`;
    const { foreign } = await readConfiguration(await file(good));
    expect(foreign).toMatchObject([
      { topic: 'hall/+/vib', format: { scale: 1 } },
      { stream: 'pump', baudRate: 115_200, format: { delimiter: ',' } },
    ]);
    const bad = await mistakes(good.replace('int16', 'int24').replace(', range: 16', '').replace('"hall-{1}"', 'hall'));
    expect(bad).toMatch(/line 6, foreign\.0\.format/);
    expect(bad).toMatch(/line 7, foreign\.1\.format\.range/);
    expect(await mistakes(good.replace('hall-{1}', 'hall'))).toMatch(/foreign\.0\.topic: .*streams must not share a name/);
  });

  it.each(['3.1.1', '"5"', '5'])('takes protocolVersion %s', async (version) => {
    const { broker } = await readConfiguration(await file(`${HEAD}broker: { url: mqtt://x, protocolVersion: ${version} }\n`));
    expect(broker.protocolVersion).toBe(version === '3.1.1' ? 4 : 5);
  });

  it.each([
    ['protocolVersion: 4', /must be 3\.1\.1 or 5/],
    ['qos: 2', /broker\.qos: must be 0 or 1/],
    ['passwordFile: gateway.yaml', /broker\.passwordFile/],
    ['ca: gateway.yaml', /broker\.ca: is for mqtts/],
    ['ca: nowhere.crt', /broker\.ca: .*nowhere\.crt cannot be read \(ENOENT\)/],
  ])('refuses a broker with %s', async (line, expected) => {
    expect(await mistakes(`${HEAD}broker:\n  url: mqtt://x\n  ${line}\n`)).toMatch(expected);
  });

  it('refuses a private key that others can read, and half of a pair', async () => {
    const path = await file(`${HEAD}broker:\n  url: mqtts://x\n  cert: cert.pem\n  key: key.pem\n`);
    for (const name of ['cert.pem', 'key.pem']) await writeFile(join(dirname(path), name), 'x');
    await chmod(join(dirname(path), 'key.pem'), 0o644);
    expect(await mistakes(path)).toMatch(/line 7, broker\.key: .*key\.pem can be read by others \(mode 644\); run: chmod 600/);
    await chmod(join(dirname(path), 'key.pem'), 0o640);
    expect((await readConfiguration(path)).broker.key).toBe(join(dirname(path), 'key.pem'));
    await writeFile(path, `${HEAD}broker: { url: mqtts://x, cert: cert.pem }\n`);
    expect(await mistakes(path)).toMatch(/line 4, broker\.cert: cert and key go together/);
  });
});

describe('a USB device', () => {
  const ports = [
    { path: '/dev/ttyS0' },
    { path: '/dev/ttyUSB0', vendorId: '0403', productId: '6001', serialNumber: 'A' },
    { path: '/dev/ttyUSB1', vendorId: '0403', productId: '6001', serialNumber: 'B' },
    { path: '/dev/ttyACM0', vendorId: '2E8A', productId: '000a', serialNumber: 'B' },
  ];
  it.each([
    [{ vendorId: '0403', productId: '6001' }, '/dev/ttyUSB0'],
    [{ vendorId: '0403', productId: '6001', serialNumber: 'B' }, '/dev/ttyUSB1'],
    [{ vendorId: '2e8a', productId: '000A' }, '/dev/ttyACM0'],
    [{ serialNumber: 'A' }, '/dev/ttyUSB0'],
    [{ serialNumber: 'C' }, undefined],
    [{}, undefined],
  ])('%o is found at %s', (usb, path) => {
    expect(matchUsb(ports, usb)?.path).toBe(path);
  });
});

describe('topics', () => {
  it('lie below one branch a gateway', () => {
    const topics = gatewayTopics('plant-1', 'hall-3');
    for (const topic of [topics.samples('a'), topics.diagnosis('a'), topics.alarm('a'), topics.status])
      expect(topic.startsWith('tremolo/v1/plant-1/hall-3/')).toBe(true);
  });

  it.each(['', 'a/b', '#', '+', 'a b', '$SYS'])('cannot be named "%s"', (name) => {
    expect(() => gatewayTopics(name, 'g')).toThrow(RangeError);
  });

  it('name streams by the levels of a pattern', () => {
    const pattern = new TopicPattern('hall/+/vib/+', '{2}.{1}');
    expect(pattern.match('hall/3/vib/press')).toBe('press.3');
    expect(pattern.match('hall/a b/vib/ä')).toBeUndefined();
    expect(pattern.match('hall/a b/vib/x')).toBe('x.a-b');
    expect(pattern.match('hall/3/vib')).toBeUndefined();
    expect(pattern.match('hall/3/temp/press')).toBeUndefined();
  });

  it.each([
    ['a/#', 'x'],
    ['a/b+', 'x'],
    ['a/+', 'x'],
    ['a/+', '{2}'],
    ['a/+', '{1}/{1}'],
    ['', 'x'],
  ])('refuse the pattern "%s" with the name "%s"', (topic, name) => {
    expect(() => new TopicPattern(topic, name)).toThrow(RangeError);
  });
});
