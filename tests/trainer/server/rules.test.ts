import { writeFileSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readServerConfiguration } from '../../../trainer/server/configuration.ts';
import { arrivalOf } from '../../../trainer/server/intake.ts';
import { reasonForFull, reasonToRetrain } from '../../../trainer/server/rules.ts';

const rules = { labels: 12, severity: 2, leastLabels: 3, metric: { topic: 'oee', fall: 0.05, figures: 4 } };
const facts = { last: 1, labels: 3, severity: 0, metrics: {} };

describe('the rules of retraining', () => {
  it('ask for nothing while nothing has happened', () => {
    expect(reasonToRetrain({ ...facts, labels: 11, severity: 1.9 }, rules)).toBeUndefined();
  });

  it.each([
    [{ ...facts, labels: 12 }, '12 new labels'],
    [{ ...facts, severity: 2 }, 'drifts of severity 2.00 together'],
    [{ ...facts, metrics: { oee: [0.5, 0.8, 0.8, 0.8, 0.8, 0.76, 0.76, 0.76, 0.76] } }, 'oee fell by 5.0 % (0.800 -> 0.760)'],
  ])('say why: %j', (found, why) => {
    expect(reasonToRetrain(found, rules)).toBe(why);
    // And never without labels to learn from.
    expect(reasonToRetrain({ ...found, labels: 2 }, { ...rules, labels: 2, leastLabels: 3 })).toBeUndefined();
  });

  it.each([[[0.8, 0.8, 0.8, 0.8, 0.77, 0.77, 0.77, 0.77]], [[0.8, 0.8, 0.8, 0.1, 0.1, 0.1, 0.1]], [[0, 0, 0, 0, -1, -1, -1, -1]]])(
    'do not mind %j',
    (oee) => {
      expect(reasonToRetrain({ ...facts, metrics: { oee } }, rules)).toBeUndefined();
    },
  );
});

describe('what arrives', () => {
  const label = {
    id: 'l1',
    stream: 'press',
    at: '2026-01-01T00:00:00Z',
    annotator: '00112233445566778899',
    verdict: 'unsure',
    subject: { kind: 'signal', signal: 's' },
  };
  const said = { id: 'l1', stream: 'press', at: '2026-01-01T00:00:01Z', outcome: 'noted', windows: 0, label };
  const arrival = (topic: string, value: unknown) => arrivalOf(topic, Buffer.from(JSON.stringify(value)));

  it('is known by the topic that the broker guards', () => {
    expect(arrival('tremolo/v1/plant/hall/labelled/press', said)).toMatchObject({
      site: 'plant',
      gateway: 'hall',
      stream: 'press',
      kind: 'label',
      pseudonym: label.annotator,
    });
    expect(arrival('tremolo/v1/plant/hall/labelled/lathe', said)).toBeUndefined();
  });

  it.each([
    [{}],
    [null],
    ['x'],
    [label],
    [{ ...said, label: { ...label, verdict: 'maybe' } }],
    [{ ...said, label: { ...label, more: 1 } }],
  ])('is refused where it is not what it should be: %j', (value) => {
    expect(arrival('tremolo/v1/plant/hall/labelled/press', value)).toBeUndefined();
    expect(arrival('tremolo/v1/plant/hall/drift/press', value)).toBeUndefined();
    expect(arrival('tremolo/v1/plant/hall/adapter/press', value)).toBeUndefined();
  });
});

describe('all weights are trained', () => {
  const of = (count: number, machines: number) =>
    Array.from({ length: count }, (_, index) => ({ gateway: `hall-${index % machines}`, stream: 'press' }));
  it.each([
    [9, 1, undefined],
    [10, 1, '10 labelled windows'],
    [9, 4, 'labels of 4 machines'],
  ])('of %i windows of %i machines: %s', (count, machines, why) => {
    expect(reasonForFull(of(count, machines), { windows: 10, machines: 4 })).toBe(why);
  });
});

describe('server.yaml', () => {
  it('names an object store without its secrets, and every mistake in that', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tremolo-server-yaml-'));
    const path = join(folder, 'server.yaml');
    const said = (text: string) => {
      writeFileSync(path, `repository: fleet\nbroker: { url: mqtt://127.0.0.1 }\nobjectStore:\n${text}`);
      return readServerConfiguration(path);
    };
    expect((await said('  endpoint: https://objects.plant:9000\n  bucket: models\n')).objectStore).toEqual({
      ...{ endpoint: 'https://objects.plant:9000', bucket: 'models', region: 'us-east-1', prefix: 'tremolo/' },
    });
    writeFileSync(join(folder, 'keys'), 'key:secret\n', { mode: 0o644 });
    await expect(
      said('  endpoint: https://key:secret@objects.plant\n  bucket: A\n  prefix: models\n  credentialsFile: keys\n  secret: s\n'),
    ).rejects.toThrow(
      /line 4, objectStore.endpoint: must be http.*line 5, objectStore.bucket.*line 6, objectStore.prefix.*line 7, objectStore.credentialsFile: .*chmod 600.*secret/,
    );
    await expect(said('  endpoint: ftp://objects.plant\n  bucket: models\n')).rejects.toThrow(/line 4, objectStore.endpoint: must be http/);
  });

  it('names every mistake with its line', async () => {
    const path = join(await mkdtemp(join(tmpdir(), 'tremolo-server-yaml-')), 'server.yaml');
    await writeFile(
      path,
      'repository: fleet\nbroker: { url: mqtt://127.0.0.1 }\nlease: soon\nretrain: { bundle: nowhere }\nkinds: { press: [press-1] }\n',
    );
    const refusal = await readServerConfiguration(path).catch((error: Error & { code: string }) => error);
    expect(refusal).toMatchObject({ code: 'server/configuration' });
    expect((refusal as Error).message).toMatch(
      /line 3, lease: write 90s.*line 4, retrain.bundle: .*nowhere has no manifest.json.*line 5, kinds.press.0: write SITE/,
    );
  });
});
