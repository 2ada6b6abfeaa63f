import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { gatewayTopics } from '../../../runtime/contracts/topics.ts';
import { ConfigurationRefusal, readConfiguration } from '../../../runtime/io/configuration.ts';

async function file(text: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), 'tremolo-config-')), 'gateway.yaml');
  await writeFile(path, text);
  return path;
}

describe('gateway.yaml', () => {
  it('is read with its defaults, the bundle relative to the file', async () => {
    const path = await file('site: plant-1\ngateway: hall-3\nbundle: ./bundle\nbroker: { url: mqtt://127.0.0.1:1883 }\n');
    expect(await readConfiguration(path)).toMatchObject({
      site: 'plant-1',
      engine: 'onnxruntime',
      serial: [],
      bundle: path.replace('gateway.yaml', 'bundle'),
    });
  });

  it('reports all mistakes at once, with their lines', async () => {
    const path = await file(
      'site: "a/b"\ngateway: hall\nbundle: b\nbroker:\n  url: http://nowhere\nserial:\n  - name: press\n    path: /dev/x\n    baudRate: -1\ntypo: 1\n',
    );
    const error = await readConfiguration(path).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigurationRefusal);
    const { message } = error as ConfigurationRefusal;
    expect(message).toMatch(/line 1, site/);
    expect(message).toMatch(/line 5, broker\.url/);
    expect(message).toMatch(/line 9, serial\.0\.baudRate/);
    expect(message).toMatch(/typo/);
    expect(message.split('\n')).toHaveLength(1);
  });

  it('refuses what is not YAML', async () => {
    await expect(readConfiguration(await file('site: [1, 2'))).rejects.toThrow(ConfigurationRefusal);
  });
});

describe('topics', () => {
  it('lie below one branch a gateway', () => {
    const topics = gatewayTopics('plant-1', 'hall-3');
    for (const topic of [topics.samples('a'), topics.diagnosis('a'), topics.status])
      expect(topic.startsWith('tremolo/v1/plant-1/hall-3/')).toBe(true);
  });

  it.each(['', 'a/b', '#', '+', 'a b', '$SYS'])('cannot be named "%s"', (name) => {
    expect(() => gatewayTopics(name, 'g')).toThrow(RangeError);
  });
});
